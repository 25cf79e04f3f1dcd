// Command mainthread probes rings as the daemon does at its start and prints how many of them
// were made on the main thread, which does not end before the process does.
package main

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"uringhttpd/platform"
	"uringhttpd/uring"
)

func main() {
	runtime.GOMAXPROCS(1) // a board with one processor, where a new goroutine takes over the thread
	onMain := 0
	for range 8 {
		platform.NewRings(func() (*uring.Ring, error) {
			if unix.Gettid() == unix.Getpid() {
				onMain++
			}
			return nil, errors.New("not a ring")
		}).Feature()
	}
	fmt.Println(onMain)
}
