package main

import (
	"fmt"
	"os"
	"testing"

	"uringhttpd/test/leak"
)

// TestMain also runs the product's command line: "selftest ..." for the child processes that
// doctor and serve start from their own executable, and "denied CALL ..." with a seccomp filter
// that denies the system call CALL.
func TestMain(m *testing.M) {
	if len(os.Args) > 3 && os.Args[1] == "denied" {
		if err := deny(os.Args[2]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(run(os.Args[3:], os.Stdout, os.Stderr))
	}
	if len(os.Args) > 1 && os.Args[1] == "selftest" {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	leak.Main(m)
}
