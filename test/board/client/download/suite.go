package main

import (
	_ "unsafe" // for go:linkname
)

// What crypto/tls offers of TLS 1.3, which no Config can choose. It lets these two
// be linked to (go.dev/issue/67401).
//
//go:linkname suitesTLS13 crypto/tls.defaultCipherSuitesTLS13
var suitesTLS13 []uint16

//go:linkname suitesTLS13NoAES crypto/tls.defaultCipherSuitesTLS13NoAES
var suitesTLS13NoAES []uint16

// offerOnly makes all handshakes of TLS 1.3 to come offer one suite.
func offerOnly(suite uint16) {
	suitesTLS13, suitesTLS13NoAES = []uint16{suite}, []uint16{suite}
}
