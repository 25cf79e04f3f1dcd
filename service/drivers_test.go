package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"uringhttpd/ktls"
)

// newcomerLoop is a loop that knows one driver, of which a connection found another.
type newcomerLoop struct {
	*engineLoop
	picked string // by the kernel
	found  []Encryptor
	err    error
	asked  int
	told   []string
}

func newNewcomerLoop(t *testing.T) *newcomerLoop {
	n := &newcomerLoop{engineLoop: newEngineLoop(t, 0), picked: "late"}
	n.drivers.add([]Encryptor{{Suite: suiteGCM, Driver: "early", Verified: true}})
	n.drivers.picked = func(uint16) string { return n.picked }
	n.examine = func(context.Context) ([]Encryptor, error) {
		n.asked++
		return n.found, n.err
	}
	n.notice = func(text string) { n.told = append(n.told, text) }
	return n
}

// connect is what a connection does that would be the kernel's; it tells whether it is.
func (n *newcomerLoop) connect() bool {
	_, err := n.drivers.find(suiteGCM)
	var untested *untestedError
	if errors.As(err, &untested) {
		n.examineNewcomer(untested.driver)
	}
	return err == nil
}

// TestNewcomer: a driver that has come is used once a test has found it right, is never
// used if it was wrong, and is tested again, but not at once, if nobody knows.
func TestNewcomer(t *testing.T) {
	right := Encryptor{Suite: suiteGCM, Driver: "late", Async: true, Verified: true}
	unverified := right
	unverified.Verified = false
	other := right
	other.Driver = "later"
	for _, tc := range []struct {
		name  string
		found []Encryptor
		err   error
		used  bool
		again bool // it is tested again
		told  string
	}{
		{"right", []Encryptor{right}, nil, true, false, "kernel TLS is used with another driver"},
		{"right, beside another that is wrong", []Encryptor{right}, errSimWrong, true, false, "kernel TLS is used with another driver"},
		{"wrong", nil, errSimWrong, false, false, "a driver that has come is wrong"},
		{"wrong, and another right", []Encryptor{other}, errSimWrong, false, false, "a driver that has come is wrong"},
		{"not tested", []Encryptor{unverified}, nil, false, true, ""},
		{"nobody could ask", nil, fmt.Errorf("%w: no memory", ErrInconclusive), false, true, ""},
		{"gone when it was tested", []Encryptor{other}, nil, false, true, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := newNewcomerLoop(t)
			n.found, n.err = tc.found, tc.err
			for range 2 {
				if n.connect() || len(n.tester.jobs) != 1 {
					t.Fatalf("used, or %d tests at a time", len(n.tester.jobs))
				}
			}
			n.tester.work()
			n.rang()
			if got := n.connect(); got != tc.used || n.asked != 1 || len(n.tester.jobs) > 0 {
				t.Errorf("used: %v, want %v; %d tests", got, tc.used, n.asked)
			}
			if told := strings.Join(n.told, ""); !strings.HasPrefix(told, tc.told) || told != "" && tc.told == "" {
				t.Errorf("told %q, want %q", told, tc.told)
			}
			n.now = n.now.Add(engineRetest)
			if n.connect(); len(n.tester.jobs) > 0 != tc.again {
				t.Errorf("tested again: %v, want %v", len(n.tester.jobs) > 0, tc.again)
			}
			n.picked = "early"
			if !n.connect() {
				t.Error("the driver that was there before is not used any more")
			}
			if waits := slices.Contains(n.drivers.suites(), suiteGCM); waits != tc.used {
				t.Errorf("something may wait: %v, want %v", waits, tc.used)
			}
		})
	}
}

// TestNewcomerUnseen: what cannot be seen is not used, and not tested; nor is anything once an
// engine is dead, or while the service stops.
func TestNewcomerUnseen(t *testing.T) {
	for name, change := range map[string]func(*newcomerLoop){
		"cannot be seen":    func(n *newcomerLoop) { n.picked = "" },
		"an engine died":    func(n *newcomerLoop) { n.engine.dead = true },
		"another is tested": func(n *newcomerLoop) { n.engine.testing = true },
		"the service ends":  func(n *newcomerLoop) { n.stopping = true },
	} {
		n := newNewcomerLoop(t)
		change(n)
		if n.connect() || len(n.tester.jobs) > 0 {
			t.Errorf("%s: used, or tested", name)
		}
	}
}

// lateSocket takes keys, and a driver comes before that.
type lateSocket struct {
	refusingSocket
	come func()
}

func (s *lateSocket) Offload(*ktls.Session) error {
	s.come()
	return nil
}

// TestNewcomerMeanwhile: a driver that comes while the keys are handed over ends the
// connection, before it has encrypted anything; one that waits is known to.
func TestNewcomerMeanwhile(t *testing.T) {
	preferAES(t)
	ts := startServer(t, hello, nil)
	session, _ := handshaken(t, ts)
	suite := session.Suite()
	picked := "early"
	s := &settings{log: ts.settings.log, headerTimeout: time.Minute}
	s.offloads.Store(true)
	s.drivers.picked = func(uint16) string { return picked }
	s.drivers.add([]Encryptor{{Suite: suite, Driver: "early"}, {Suite: suite, Driver: "known", Async: true}})
	for _, tc := range []struct {
		comes string
		want  opKind
		async bool
	}{
		{"early", opRecv, false},
		{"known", opRecv, true},
		{"late", opClose, false},
	} {
		picked = "early"
		c := newConn(s, &lateSocket{come: func() { picked = tc.comes }}, tc.comes, session)
		c.wire = make([]byte, wireBuffer)
		c.offloadSession(time.Now()).job()
		if op := c.step(event{now: time.Now()}); op.kind != tc.want || op.kind == opRecv && (c.transport != kernel || c.by.Async != tc.async) {
			t.Errorf("%s: operation %d, %v, by %+v", tc.comes, op.kind, c.transport, c.by)
		}
	}
}
