// Package yocto checks yocto/meta-uringhttpd. It has only tests.
//
// modules_test.go holds the recipe's lists of Go modules and licences to what
// go.mod says, and writes them with -update. The go command itself tells which
// modules, and which bare go.mod files, a build needs: it lists the packages of
// the daemon, for each architecture, with an empty module cache, and whatever is
// in that cache afterwards the recipe must fetch. It is filled from this
// machine's own cache, so nothing comes from the network. Modules that only
// tests import are not in the list; the recipe builds no tests.
//
// parse_test.go (build tag yocto) lets BitBake parse the layer.
package yocto
