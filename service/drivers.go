package service

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// drivers are who encrypts for kernel TLS. The kernel picks one for each connection, and
// neither the socket nor the process can choose. A driver that comes while the service
// runs, of an engine whose probe was put off or of a module, is picked from then on, and
// nobody knows whether it is right. So it is looked up who would be picked, before the
// keys are handed over and, since that and the coming of a driver may overlap, behind
// that. Connections for which a driver would be picked that was not tested stay in user
// space until it is.
type drivers struct {
	picked func(suite uint16) string   // by the kernel now; nil: as at the start
	tested atomic.Pointer[[]Encryptor] // at the start, and since; only the loop changes it
}

// An untestedError is why a connection is not, or not any more, the kernel's.
type untestedError struct {
	suite  uint16
	driver string // "" if it cannot be seen
	taken  bool   // the kernel has the keys already
}

func (e *untestedError) Error() string {
	if e.driver == "" {
		return "it cannot be seen who encrypts in the kernel with " + tls.CipherSuiteName(e.suite)
	}
	return fmt.Sprintf("the kernel has %s for %s, which is not tested", e.driver, tls.CipherSuiteName(e.suite))
}

func (e *untestedError) Is(target error) bool { return target == errors.ErrUnsupported && !e.taken }

// find returns who encrypts with a cipher suite if kernel TLS is set up now. The error is an
// *untestedError, or another that wraps errors.ErrUnsupported.
func (d *drivers) find(suite uint16) (Encryptor, error) {
	var of []Encryptor
	for _, e := range d.list() {
		if e.Suite == suite {
			of = append(of, e)
		}
	}
	if len(of) == 0 {
		return Encryptor{}, fmt.Errorf("the kernel does not take %s: %w", tls.CipherSuiteName(suite), errors.ErrUnsupported)
	}
	if d.picked == nil {
		return of[0], nil
	}
	driver := d.picked(suite)
	for _, e := range of {
		if e.Driver == driver {
			return e, nil
		}
	}
	return Encryptor{}, &untestedError{suite: suite, driver: driver}
}

func (d *drivers) list() []Encryptor {
	if all := d.tested.Load(); all != nil {
		return *all
	}
	return nil
}

// add takes drivers that were tested and right.
func (d *drivers) add(more []Encryptor) {
	all := slices.Concat(d.list(), more)
	d.tested.Store(&all)
}

// asynchronous names those that may keep their callers waiting.
func (d *drivers) asynchronous() string {
	return names(slices.DeleteFunc(slices.Clone(d.list()), func(e Encryptor) bool { return !e.Async }))
}

// names is as in "gcm(aes) by gcm-aes-caam (hardware, asynchronous, tested), ...".
func names(all []Encryptor) string {
	var names []string
	for _, e := range all {
		if name := e.String(); !slices.Contains(names, name) { // of both key lengths
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// suites are those of the asynchronous ones.
func (d *drivers) suites() []uint16 {
	var suites []uint16
	for _, e := range d.list() {
		if e.Async && !slices.Contains(suites, e.Suite) {
			suites = append(suites, e.Suite)
		}
	}
	return suites
}

// newcomer is a driver that is being tested, and what became of those before it. There is one
// test at a time, which costs a processor about as much as some handshakes.
type newcomer struct {
	driver  string // "": none
	found   []Encryptor
	err     error
	refused []string  // drivers that were not found right
	testAt  time.Time // no test before that
}

// examineNewcomer has a driver tested that the kernel has picked for a connection.
func (l *loop) examineNewcomer(driver string) {
	n := &l.newcomer
	switch {
	case driver == "" || l.examine == nil || slices.Contains(n.refused, driver):
		return
	case n.driver != "" || l.engine.testing || l.now.Before(n.testAt): // a later connection will ask
		return
	case l.engine.dead || l.stopping:
		return
	}
	l.log.Info("the kernel has another driver for a cipher: it is tested before kernel TLS is used with it", "driver", driver)
	n.driver, n.found, n.err = driver, nil, nil
	l.engine.tester.submit(newcomerTest, func() { n.found, n.err = l.examine(l.lifetime) })
}

// examined takes the outcome of that test. A driver that was wrong is not tested again: a
// restart does that.
func (l *loop) examined() {
	n := &l.newcomer
	driver, found, err := n.driver, n.found, n.err
	n.driver, n.testAt = "", l.now.Add(engineRetest)
	found = slices.DeleteFunc(found, func(e Encryptor) bool {
		return e.Driver != driver || !e.Verified || slices.Contains(l.drivers.list(), e)
	})
	switch {
	case l.lifetime != nil && l.lifetime.Err() != nil: // nobody waits for it any more
	case len(found) > 0:
		n.testAt = l.now
		l.drivers.add(found)
		text := "kernel TLS is used with another driver, too: " + names(found)
		l.log.Info(text)
		l.tell(text)
	case err == nil || errors.Is(err, ErrInconclusive):
		l.log.Warn("a driver that has come could not be tested, and is not used until it is", "driver", driver, "reason", err)
	default:
		n.refused = append(n.refused, driver)
		text := "a driver that has come is wrong: where the kernel picks it, kernel TLS is not used, until a restart finds it right"
		l.log.Error(text, "driver", driver, "reason", err)
		l.tell(fmt.Sprintf("%s (%s: %v)", text, driver, err))
	}
}
