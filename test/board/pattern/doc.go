// Package pattern generates file contents that need not be kept: each byte is
// a function of a seed and its offset. A guest can make a file of any size and
// a host can check any range of it, name the first wrong byte, and compute the
// digest, with a seed and two numbers as the only thing they share.
//
// It is no cryptographic generator. Neighbouring words differ in about half
// their bits, so a shifted, repeated or zeroed range is always noticed.
package pattern
