// Package netns has the tests that need their own network or mounts: `go test -tags netns`.
//
// Some run a program in a network namespace, as root or with user namespaces; they need tc and ip, of
// Debian's package iproute2. The tests of swapped firmware images mount loop devices, and need root.
//
// `make bench-parts` runs the benchmarks as root: they measure the cost of the seal of large files, and
// of the size of pipes. To debug, run one test with -v; the programs' output is in the log.
package netns
