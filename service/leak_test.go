package service

import (
	"fmt"
	"os"
	"testing"

	"uringhttpd/test/leak"
)

// TestMain also runs the child process of TestConfineDeniesAFALGAndRings.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "confined" {
		if err := confinedChild(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	leak.Main(m)
}
