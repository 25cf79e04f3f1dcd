package server

import (
	"context"
	"crypto/tls"
	"errors"
	"slices"

	"uringhttpd/offload"
	"uringhttpd/platform/cryptoapi"
)

// simDriver is who encrypts in a simulated kernel.
type simDriver struct {
	name  string
	async bool // it is, or waits for, the engine
	wrong bool // what it encrypts
}

var errSimWrong = errors.New("the driver is wrong")

// newDrivers chooses who is there at the start, and who comes.
func (w *world) newDrivers() {
	w.driver = simDriver{name: "first", async: !w.chance(300)}
	if w.kernelTLS && w.chance(300) {
		w.newcomer = &simDriver{name: "newcomer", async: !w.chance(500), wrong: w.chance(500)}
	}
}

// swapDrivers lets the other driver come, or go again. The kernel may have to test it first, or
// make it of parts once somebody asks.
func (w *world) swapDrivers() {
	switch {
	case w.newcomer == nil:
	case !w.testing && w.chance(300):
		w.testing = true
	default:
		w.driver, *w.newcomer = *w.newcomer, w.driver
		w.testing, w.unmade = false, w.chance(200)
	}
}

// useDriver is what the kernel does for somebody who asks for the cipher.
func (w *world) useDriver() {
	if w.testing {
		w.swapDrivers() // waited for
	}
	w.unmade = false
}

// encryptors is how the service knows a driver.
func (d simDriver) encryptors() (all []offload.Driver) {
	for _, suite := range []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384} {
		all = append(all, offload.Driver{Suite: suite, Algorithm: "gcm(aes)", Name: d.name, Async: d.async, Verified: true})
	}
	return all
}

func (w *world) picked(uint16) cryptoapi.Selection {
	if w.unmade {
		return cryptoapi.Selection{Known: true, Testing: w.testing}
	}
	return cryptoapi.Selection{Known: true, Driver: w.driver.name, Testing: w.testing}
}

// known tells whether the service has found the driver right.
func (w *world) known() bool {
	return slices.ContainsFunc(w.loop.proc.drivers.list(), func(e offload.Driver) bool { return e.Name == w.driver.name })
}

// examine is how the service has the driver tested that is there.
func (w *world) examine(context.Context) ([]offload.TestResult, error) {
	var all []offload.TestResult
	w.useDriver()
	for _, e := range w.driver.encryptors() {
		x := offload.TestResult{Driver: e}
		switch {
		case w.driver.wrong:
			x.Err, x.Verified = errSimWrong, false
		case w.driver.async && w.engine.dead:
			x.Err, x.Verified = errSimDead, false
		}
		all = append(all, x)
	}
	return all, nil
}
