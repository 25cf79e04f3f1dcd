// Package yocto checks yocto/meta-uringhttpd. It has only tests.
//
// modules_test.go compares the recipe's lists of Go modules and licences with go.mod, and writes them
// with -update. The go command determines the modules, and the bare go.mod files, that a build needs: it
// lists the packages of the daemon, for each architecture, with an empty module cache. The recipe must
// fetch everything that is in this cache afterwards. The cache is filled from this machine's own cache,
// without the network. Modules that only tests import are not in the list, since the recipe builds no
// tests.
//
// parse_test.go (build tag yocto) lets BitBake parse the layer.
package yocto
