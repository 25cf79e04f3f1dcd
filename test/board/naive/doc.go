// Naive is a server that is wrong on purpose: net/http over a socket whose sending side is in
// the kernel, as in programs that treat kernel TLS as just a faster TLS. Files are
// sent by sendfile(2), since the connection has a ReadFrom; Close sends close_notify, then
// FIN, then closes, however much is still inside kernel TLS.
//
// It serves a directory, so that tests of the daemon's promises can be run against it.
package main
