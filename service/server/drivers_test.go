package server

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"time"

	"uringhttpd/ktls"
	"uringhttpd/offload"
	"uringhttpd/platform"
)

// newcomerLoop is a loop that knows one driver, of which a connection found another.
type newcomerLoop struct {
	*engineLoop
	pick  platform.Pick // of the kernel
	found []offload.TestResult
	err   error
	asked int
	told  []string
}

func newNewcomerLoop(t *testing.T) *newcomerLoop {
	n := &newcomerLoop{engineLoop: newEngineLoop(t, 0), pick: platform.Pick{Seen: true, Driver: "late"}}
	n.newDrivers = makeNewDrivers([]string{"bad"})
	n.proc.drivers.add([]offload.Driver{{Suite: tls.TLS_AES_128_GCM_SHA256, Name: "early", Verified: true}})
	n.proc.drivers.selected = func(uint16) platform.Pick { return n.pick }
	n.examine = func(context.Context) ([]offload.TestResult, error) {
		n.asked++
		return n.found, n.err
	}
	n.notice = func(text string) { n.told = append(n.told, text) }
	return n
}

// connect is what a connection does that would be the kernel's; it tells whether it is.
func (n *newcomerLoop) connect() bool {
	_, err := n.proc.drivers.find(tls.TLS_AES_128_GCM_SHA256)
	var untested *untestedError
	if errors.As(err, &untested) {
		n.testNewDriver(untested.subject())
	}
	return err == nil
}

// TestNewcomer: a driver that has come is used once a test has found it right, is never
// used if it was wrong, and is tested again, but not at once, if nobody knows.
func TestNewcomer(t *testing.T) {
	by := func(driver string, verified bool, err error) offload.TestResult {
		return offload.TestResult{Driver: offload.Driver{Suite: tls.TLS_AES_128_GCM_SHA256, Name: driver, Async: true, Verified: verified}, Err: err}
	}
	chacha := offload.TestResult{Driver: offload.Driver{Suite: tls.TLS_CHACHA20_POLY1305_SHA256, Name: "chacha"}, Err: errSimWrong}
	for _, tc := range []struct {
		name  string
		found []offload.TestResult
		err   error
		used  bool
		again bool // it is tested again
		told  string
	}{
		{"right", []offload.TestResult{by("late", true, nil)}, nil, true, false, "kernel TLS uses a new kernel crypto driver"},
		{"right, beside another that is wrong", []offload.TestResult{by("late", true, nil), chacha}, nil, true, false, "kernel crypto driver failed its test"},
		{"wrong", []offload.TestResult{by("late", false, errSimWrong)}, nil, false, false, "kernel crypto driver failed its test"},
		{"not tested", []offload.TestResult{by("late", false, nil)}, nil, false, true, ""},
		{"nobody could ask", nil, errors.New("no memory"), false, true, ""},
		{"gone when it was tested, and another right", []offload.TestResult{by("later", true, nil)}, nil, false, true, "kernel TLS uses a new kernel crypto driver"},
		{"gone, beside another that is wrong", []offload.TestResult{chacha}, nil, false, true, "kernel crypto driver failed its test"},
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
			n.onWake()
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
			n.pick.Driver = "early"
			if !n.connect() {
				t.Error("the driver that was there before is not used any more")
			}
			if want := len(tc.found) > 0 && tc.found[0].Verified; n.proc.drivers.mayWait(tls.TLS_AES_128_GCM_SHA256) != want {
				t.Errorf("something may wait: %v, want %v", !want, want)
			}
		})
	}
}

// TestNewcomerShows: what the test of a newcomer finds of a driver that was right before counts.
func TestNewcomerShows(t *testing.T) {
	n := newNewcomerLoop(t)
	n.found = []offload.TestResult{{Driver: offload.Driver{Suite: tls.TLS_AES_128_GCM_SHA256, Name: "early"}, Err: errSimWrong}}
	n.connect()
	n.tester.work()
	n.onWake()
	n.pick.Driver = "early"
	if n.connect() || len(n.tester.jobs) > 0 {
		t.Error("it is used, or tested again")
	}
}

// TestNewcomerRefused: a driver that was refused at the start, by its answer over AF_ALG for instance,
// stays so when the test of another driver finds it right.
func TestNewcomerRefused(t *testing.T) {
	n := newNewcomerLoop(t)
	n.pick.Driver = "another"
	n.found = []offload.TestResult{
		{Driver: offload.Driver{Suite: tls.TLS_AES_128_GCM_SHA256, Name: "bad", Verified: true}},
		{Driver: offload.Driver{Suite: tls.TLS_CHACHA20_POLY1305_SHA256, Name: "another", Verified: true}},
	}
	n.connect()
	n.tester.work()
	n.onWake()
	n.pick.Driver = "bad"
	if n.connect() {
		t.Error("it is used")
	}
	if _, err := n.proc.drivers.find(tls.TLS_AES_128_GCM_SHA256); err == nil {
		t.Error("it is among the drivers that may be used")
	}
}

// TestNewcomerUnseen: what cannot be seen is not used, and not tested; nor is anything once an
// engine is dead, or while the service stops.
func TestNewcomerUnseen(t *testing.T) {
	for name, change := range map[string]func(*newcomerLoop){
		"cannot be seen":                        func(n *newcomerLoop) { n.pick = platform.Pick{} },
		"the kernel tests":                      func(n *newcomerLoop) { n.pick.Testing = true },
		"the kernel tests one beside the known": func(n *newcomerLoop) { n.pick = platform.Pick{Seen: true, Driver: "early", Testing: true} },
		"wrong before":                          func(n *newcomerLoop) { n.pick.Driver = "bad" },
		"an engine died":                        func(n *newcomerLoop) { n.engine.dead = true },
		"another is tested":                     func(n *newcomerLoop) { n.engine.testing = true },
		"the service ends":                      func(n *newcomerLoop) { n.state.stopping = true },
	} {
		n := newNewcomerLoop(t)
		change(n)
		if n.connect() || len(n.tester.jobs) > 0 {
			t.Errorf("%s: used, or tested", name)
		}
	}
}

// TestNewcomerOfParts: the kernel makes a driver of parts when somebody asks for it, which
// connections that wait for it do not; the test does. It is tested by its name then.
func TestNewcomerOfParts(t *testing.T) {
	n := newNewcomerLoop(t)
	n.pick.Driver = ""
	made := offload.TestResult{Driver: offload.Driver{Suite: tls.TLS_AES_128_GCM_SHA256, Name: "gcm_base(late)"}}
	n.found = []offload.TestResult{made} // what it was before the test is not known
	for range 2 {
		if n.connect() {
			t.Fatal("used")
		}
	}
	n.tester.work()
	n.onWake()
	n.pick.Driver = made.Name
	n.found[0].Verified = true
	if n.connect() || len(n.tester.jobs) != 1 {
		t.Fatalf("used, or not tested: %d tests", len(n.tester.jobs))
	}
	n.tester.work()
	n.onWake()
	if !n.connect() {
		t.Error("not used")
	}
	// A cipher that the kernel did not have at the start.
	n.pick.Driver, n.found[0].Suite = "chacha", tls.TLS_CHACHA20_POLY1305_SHA256
	_, err := n.proc.drivers.find(tls.TLS_CHACHA20_POLY1305_SHA256)
	var untested *untestedError
	if !errors.As(err, &untested) || untested.subject() != "chacha" {
		t.Errorf("got %v, want that it is not tested", err)
	}
	n.pick.Driver = ""
	if _, err := n.proc.drivers.find(tls.TLS_CHACHA20_POLY1305_SHA256); errors.As(err, &untested) || !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("got %v, want that the kernel does not take it", err)
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
	pick := platform.Pick{Seen: true, Driver: "early"}
	env := driveSettings(hello)
	env.gen.log = ts.gen.log
	env.proc.offloads.Store(true)
	env.proc.drivers.selected = func(uint16) platform.Pick { return pick }
	for _, tc := range []struct {
		comes platform.Pick
		want  opKind
		async bool // a driver that is known
	}{
		{platform.Pick{Seen: true, Driver: "early"}, opRecv, false},
		{platform.Pick{Seen: true, Driver: "known"}, opRecv, true},
		{platform.Pick{Seen: true, Driver: "known"}, opRecv, false},
		{platform.Pick{Seen: true, Driver: "early"}, opRecv, true},
		{platform.Pick{Seen: true, Driver: "late"}, opClose, false},
		{platform.Pick{Seen: true, Driver: "early", Testing: true}, opClose, false},
		{platform.Pick{}, opClose, false},
	} {
		env.proc.drivers.tested.Store(&[]offload.Driver{{Suite: suite, Name: "early"}, {Suite: suite, Name: "known", Async: tc.async}})
		pick.Driver, pick.Testing, pick.Seen = "early", false, true
		c := newConn(env, &lateSocket{come: func() { pick = tc.comes }}, endpoint{}, session)
		c.input.wire = make([]byte, wireBuffer)
		c.offloadSession(time.Now()).job()
		if op := c.step(event{now: time.Now()}); op.kind != tc.want || op.kind == opRecv && (c.transport != kernel || c.async != tc.async || c.driver.Name != tc.comes.Driver) {
			t.Errorf("%+v: operation %d, %v, by %+v, may wait: %v", tc, op.kind, c.transport, c.driver, c.async)
		}
	}
}
