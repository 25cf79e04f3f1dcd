package service

import (
	"fmt"
	"os"
	"testing"

	"uringhttpd/test/leak"
)

// TestMain is also a program that confines itself.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "confined" {
		if err := tryConfined(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	leak.Main(m)
}
