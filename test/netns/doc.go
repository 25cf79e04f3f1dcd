// Package netns tests what needs a network of its own: `go test -tags netns`
// runs programs in a network namespace, as root or with user namespaces. They
// need tc and ip, of Debian's package iproute2.
//
// `make bench` measures here what the seal of large files costs, as root.
package netns
