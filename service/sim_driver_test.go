package service

import (
	"context"
	"errors"
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

// swapDrivers lets the other driver come, or go again.
func (w *world) swapDrivers() {
	if w.newcomer != nil {
		w.driver, *w.newcomer = *w.newcomer, w.driver
	}
}

// encryptors is how the service knows a driver.
func (d simDriver) encryptors() (all []Encryptor) {
	for _, suite := range []uint16{suiteGCM, suiteGCM256} {
		all = append(all, Encryptor{Suite: suite, Algorithm: "gcm(aes)", Driver: d.name, Async: d.async, Verified: true})
	}
	return all
}

func (w *world) picked(uint16) string { return w.driver.name }

// examine is how the service has the driver tested that is there.
func (w *world) examine(context.Context) ([]Encryptor, error) {
	switch {
	case w.driver.wrong:
		return nil, errSimWrong
	case w.driver.async && w.engine.dead:
		return nil, errSimDead
	}
	return w.driver.encryptors(), nil
}
