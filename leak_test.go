package main

import (
	"os"
	"testing"

	"uringhttpd/test/leak"
)

// TestMain is also the program that selftest runs in a process of its own: here that is
// this test, which would run itself for ever.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "selftest" {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	leak.Main(m)
}
