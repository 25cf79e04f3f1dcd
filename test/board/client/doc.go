// Package client downloads one file many times, over TLS or plain HTTP, and reports the
// exact result of each download: complete, truncated, or corrupt, and how the connection
// ended. It can read slowly, and break rules as clients in the field do. A browser or
// curl hides the differences that matter here, such as that between close_notify and a bare
// FIN.
//
// The program in the directory download runs it inside an emulated board, where no test can
// run, and prints the Result as JSON.
package client
