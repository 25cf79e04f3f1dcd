// Package pattern generates file contents that need not be stored: each byte is a function of
// a seed and its offset. A guest can make a file of any size, and a host can check any range of
// it, name the first wrong byte, and compute the digest; guest and host share only a seed and
// two numbers.
//
// It is not a cryptographic generator. Neighbouring words differ in about half of their bits,
// so a shifted, repeated or zeroed range is always detected.
package pattern
