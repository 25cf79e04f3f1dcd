// Command nethttp serves a directory by Go's net/http.
package main

import (
	"fmt"
	"net/http"
	"os"
)

func main() {
	if len(os.Args) != 6 {
		fmt.Fprintln(os.Stderr, "usage: nethttp ADDRESS TLS-ADDRESS DIRECTORY CERTIFICATE KEY")
		os.Exit(2)
	}
	handler := http.FileServer(http.Dir(os.Args[3]))
	failed := make(chan error)
	go func() { failed <- http.ListenAndServe(os.Args[1], handler) }()
	go func() { failed <- http.ListenAndServeTLS(os.Args[2], os.Args[4], os.Args[5], handler) }()
	fmt.Fprintln(os.Stderr, "nethttp:", <-failed)
	os.Exit(1)
}
