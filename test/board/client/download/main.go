// Download runs package client with options that it reads as JSON from the named file, or
// from standard input, and prints the result as JSON. Its exit status is 0 if every download
// was complete, 1 if not, 2 if no download was made.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"uringhttpd/test/board/client"
)

func main() {
	os.Exit(run())
}

func run() int {
	var in io.Reader = os.Stdin
	if len(os.Args) > 1 {
		f, err := os.Open(os.Args[1])
		if err != nil {
			fmt.Fprintln(os.Stderr, "download:", err)
			return 2
		}
		defer f.Close()
		in = f
	}
	var o client.Options
	d := json.NewDecoder(in)
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil {
		fmt.Fprintln(os.Stderr, "download: options:", err)
		return 2
	}
	if o.Suite != 0 {
		offerOnly(o.Suite)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r, err := client.Run(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "download:", err)
		return 2
	}
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		fmt.Fprintln(os.Stderr, "download:", err)
		return 2
	}
	if r.Failed() > 0 {
		return 1
	}
	return 0
}
