// Package netns tests what needs a network of its own: `go test -tags netns`
// runs programs in a network namespace, as root or with user namespaces. They
// need tc and ip, of Debian's package iproute2.
//
// It also tests what needs mounts: images of firmware that are swapped. That takes root and
// loop devices.
//
// `make bench-parts` measures here what the seal of large files costs, as root.
package netns
