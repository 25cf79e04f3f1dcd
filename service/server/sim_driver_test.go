package server

import (
	"context"
	"crypto/tls"
	"errors"
	"slices"

	"uringhttpd/offload"
	"uringhttpd/platform/cryptoapi"
)

// simDriver is a cipher driver of a simulated kernel.
type simDriver struct {
	name  string
	async bool // it uses the engine
	wrong bool // its records are
}

var errSimWrong = errors.New("the driver is wrong")

// newDrivers chooses the driver at the start, and the driver that is registered later.
func (w *world) newDrivers() {
	w.driver = simDriver{name: "first", async: !w.chance(300)}
	if w.kernelTLS && w.chance(300) {
		w.otherDriver = &simDriver{name: "other", async: !w.chance(500), wrong: w.chance(500)}
	}
}

// swapDrivers registers the other driver, or removes it. The kernel may have to test it first, or
// to instantiate it on its first use.
func (w *world) swapDrivers() {
	switch {
	case w.otherDriver == nil:
	case !w.testing && w.chance(300):
		w.testing = true
	default:
		w.driver, *w.otherDriver = *w.otherDriver, w.driver
		w.testing, w.uninstantiated = false, w.chance(200)
	}
}

// useDriver models the kernel at a use of the cipher.
func (w *world) useDriver() {
	if w.testing {
		w.swapDrivers() // the caller waits for that
	}
	w.uninstantiated = false
}

// drivers returns the driver as the service describes it.
func (d simDriver) drivers() (all []offload.Driver) {
	for _, suite := range []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384} {
		all = append(all, offload.Driver{Suite: suite, Algorithm: "gcm(aes)", Name: d.name, Async: d.async, Verified: true})
	}
	return all
}

func (w *world) selected(uint16) cryptoapi.Selection {
	if w.uninstantiated {
		return cryptoapi.Selection{Known: true, Testing: w.testing}
	}
	return cryptoapi.Selection{Known: true, Driver: w.driver.name, Testing: w.testing}
}

// known reports whether the driver has passed a test of the service.
func (w *world) known() bool {
	return slices.ContainsFunc(w.loop.proc.drivers.list(), func(e offload.Driver) bool { return e.Name == w.driver.name })
}

// examine tests the selected driver for the service.
func (w *world) examine(context.Context) ([]offload.TestResult, error) {
	var all []offload.TestResult
	w.useDriver()
	for _, e := range w.driver.drivers() {
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
