package main

import (
	"fmt"
	"os"
	"testing"

	"uringhttpd/test/leak"
)

// TestMain is also the program that selftest runs in a process of its own: here that is
// this test, which would run itself for ever. It is also the one that has a system call refused.
func TestMain(m *testing.M) {
	if len(os.Args) > 3 && os.Args[1] == "refused" {
		if err := refuse(os.Args[2]); err != nil {
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
