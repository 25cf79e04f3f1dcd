// Package matrix says which combinations of kernel, engine, cipher, client, size
// and network the daemon is tried in, and judges what came of each. It does no
// I/O: package board runs its cells.
//
// Not all combinations are run, there are a hundred thousand. Generate picks rows
// so that each pair of levels of any two factors is in one of them, and each
// triple of those factors that a Model names. The same seed makes the same rows.
// What cannot exist is left out by a Rule, which has its reason.
package matrix
