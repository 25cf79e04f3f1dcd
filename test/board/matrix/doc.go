// Package matrix defines the combinations of kernel, engine, cipher, client, size and network
// in which the daemon is tested, and judges the result of each. It does no I/O: package board
// runs its cells.
//
// Not all combinations are run, since there are a hundred thousand. Generate chooses rows so
// that each pair of levels of any two factors is in a row, and each triple of the factors that
// a Model names. The same seed makes the same rows. Impossible combinations are left out by a
// Rule, which states its reason.
package matrix
