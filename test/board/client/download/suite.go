package main

import (
	_ "unsafe" // for go:linkname
)

// The suites of TLS 1.3 that crypto/tls offers, which no Config can choose. It allows programs
// to link to these two (go.dev/issue/67401).
//
//go:linkname suitesTLS13 crypto/tls.defaultCipherSuitesTLS13
var suitesTLS13 []uint16

//go:linkname suitesTLS13NoAES crypto/tls.defaultCipherSuitesTLS13NoAES
var suitesTLS13NoAES []uint16

// offerOnly makes all later handshakes of TLS 1.3 offer one suite only.
func offerOnly(suite uint16) {
	suitesTLS13, suitesTLS13NoAES = []uint16{suite}, []uint16{suite}
}
