// Package client downloads one file many times, over TLS 1.3 or plain, and
// says exactly what came of each download: whole, short, or wrong, and how the
// connection ended. It reads as slowly as it is told to and can be as rude as
// clients in the field are. A browser or curl hides just the differences that
// matter here, such as that between close_notify and a bare FIN.
//
// The program in the directory download runs it where no test can, inside an
// emulated board, and prints the Result as JSON.
package client
