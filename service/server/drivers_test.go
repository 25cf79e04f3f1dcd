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
	"uringhttpd/platform/cryptoapi"
)

// newDriverLoop is a loop that knows one driver, and meets connections for which the kernel selects
// another.
type newDriverLoop struct {
	*engineLoop
	selection cryptoapi.Selection // of the kernel
	results   []offload.TestResult
	err       error
	tests     int
	notices   []string
}

func makeNewDriverLoop(t *testing.T) *newDriverLoop {
	n := &newDriverLoop{engineLoop: newEngineLoop(t, 0), selection: cryptoapi.Selection{Known: true, Driver: "late"}}
	n.newDrivers = makeNewDrivers([]string{"bad"})
	n.proc.drivers.add([]offload.Driver{{Suite: tls.TLS_AES_128_GCM_SHA256, Name: "early", Verified: true}})
	n.proc.drivers.selected = func(uint16) cryptoapi.Selection { return n.selection }
	n.examine = func(context.Context) ([]offload.TestResult, error) {
		n.tests++
		return n.results, n.err
	}
	n.notice = func(text string) { n.notices = append(n.notices, text) }
	return n
}

// connect runs the check that a connection makes before it installs keys, and reports whether
// it may install them.
func (n *newDriverLoop) connect() bool {
	_, err := n.proc.drivers.find(tls.TLS_AES_128_GCM_SHA256)
	var untested *untestedError
	if errors.As(err, &untested) {
		n.testNewDriver(untested.subject())
	}
	return err == nil
}

// TestNewDriver: a newly registered driver is used once it has passed a test, is never used if it
// has failed, and is tested again later if there was no result.
func TestNewDriver(t *testing.T) {
	by := func(driver string, verified bool, err error) offload.TestResult {
		return offload.TestResult{Driver: offload.Driver{Suite: tls.TLS_AES_128_GCM_SHA256, Name: driver, Async: true, Verified: verified}, Err: err}
	}
	chacha := offload.TestResult{Driver: offload.Driver{Suite: tls.TLS_CHACHA20_POLY1305_SHA256, Name: "chacha"}, Err: errSimWrong}
	for _, tc := range []struct {
		name   string
		found  []offload.TestResult
		err    error
		used   bool
		again  bool // it is tested again
		notice string
	}{
		{"passes", []offload.TestResult{by("late", true, nil)}, nil, true, false, "kernel TLS uses a new kernel crypto driver"},
		{"passes, and another fails", []offload.TestResult{by("late", true, nil), chacha}, nil, true, false, "kernel crypto driver failed its test"},
		{"fails", []offload.TestResult{by("late", false, errSimWrong)}, nil, false, false, "kernel crypto driver failed its test"},
		{"not tested", []offload.TestResult{by("late", false, nil)}, nil, false, true, ""},
		{"test not possible", nil, errors.New("no memory"), false, true, ""},
		{"removed before the test, and another passes", []offload.TestResult{by("later", true, nil)}, nil, false, true, "kernel TLS uses a new kernel crypto driver"},
		{"removed before the test, and another fails", []offload.TestResult{chacha}, nil, false, true, "kernel crypto driver failed its test"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := makeNewDriverLoop(t)
			n.results, n.err = tc.found, tc.err
			for range 2 {
				if n.connect() || len(n.tester.jobs) != 1 {
					t.Fatalf("used, or %d tests at a time", len(n.tester.jobs))
				}
			}
			n.tester.work()
			n.onWake()
			if got := n.connect(); got != tc.used || n.tests != 1 || len(n.tester.jobs) > 0 {
				t.Errorf("used: %v, want %v; %d tests", got, tc.used, n.tests)
			}
			if notice := strings.Join(n.notices, ""); !strings.HasPrefix(notice, tc.notice) || notice != "" && tc.notice == "" {
				t.Errorf("got notice %q, want %q", notice, tc.notice)
			}
			n.now = n.now.Add(engineRetest)
			if n.connect(); len(n.tester.jobs) > 0 != tc.again {
				t.Errorf("tested again: %v, want %v", len(n.tester.jobs) > 0, tc.again)
			}
			n.selection.Driver = "early"
			if !n.connect() {
				t.Error("the driver known before is no longer used")
			}
			if want := len(tc.found) > 0 && tc.found[0].Verified; n.proc.drivers.mayWait(tls.TLS_AES_128_GCM_SHA256) != want {
				t.Errorf("an operation may wait: %v, want %v", !want, want)
			}
		})
	}
}

// TestNewDriverTestRevokesKnownDriver: a known driver that fails in the test of a new driver is no
// longer used.
func TestNewDriverTestRevokesKnownDriver(t *testing.T) {
	n := makeNewDriverLoop(t)
	n.results = []offload.TestResult{{Driver: offload.Driver{Suite: tls.TLS_AES_128_GCM_SHA256, Name: "early"}, Err: errSimWrong}}
	n.connect()
	n.tester.work()
	n.onWake()
	n.selection.Driver = "early"
	if n.connect() || len(n.tester.jobs) > 0 {
		t.Error("it is used, or tested again")
	}
}

// TestRefusedDriverStaysRefused: a driver that was refused at the start, by its answer over AF_ALG
// for instance, stays refused when the test of another driver passes it.
func TestRefusedDriverStaysRefused(t *testing.T) {
	n := makeNewDriverLoop(t)
	n.selection.Driver = "another"
	n.results = []offload.TestResult{
		{Driver: offload.Driver{Suite: tls.TLS_AES_128_GCM_SHA256, Name: "bad", Verified: true}},
		{Driver: offload.Driver{Suite: tls.TLS_CHACHA20_POLY1305_SHA256, Name: "another", Verified: true}},
	}
	n.connect()
	n.tester.work()
	n.onWake()
	n.selection.Driver = "bad"
	if n.connect() {
		t.Error("it is used")
	}
	if _, err := n.proc.drivers.find(tls.TLS_AES_128_GCM_SHA256); err == nil {
		t.Error("it is among the drivers that may be used")
	}
}

// TestUnknownDriverIsNotUsed: an unknown driver is not used, and not tested. After an engine has
// died, and while the service stops, no driver is tested.
func TestUnknownDriverIsNotUsed(t *testing.T) {
	for name, change := range map[string]func(*newDriverLoop){
		"cannot be seen":                        func(n *newDriverLoop) { n.selection = cryptoapi.Selection{} },
		"the kernel tests":                      func(n *newDriverLoop) { n.selection.Testing = true },
		"the kernel tests one beside the known": func(n *newDriverLoop) { n.selection = cryptoapi.Selection{Known: true, Driver: "early", Testing: true} },
		"wrong before":                          func(n *newDriverLoop) { n.selection.Driver = "bad" },
		"an engine died":                        func(n *newDriverLoop) { n.engine.dead = true },
		"another is tested":                     func(n *newDriverLoop) { n.engine.testing = true },
		"the service ends":                      func(n *newDriverLoop) { n.shared.stopping = true },
	} {
		n := makeNewDriverLoop(t)
		change(n)
		if n.connect() || len(n.tester.jobs) > 0 {
			t.Errorf("%s: used, or tested", name)
		}
	}
}

// TestTemplateDriverIsInstantiatedByTest: the kernel instantiates a template driver on its first
// use, which is the test, because connections wait for that. It is then tested by its name.
func TestTemplateDriverIsInstantiatedByTest(t *testing.T) {
	n := makeNewDriverLoop(t)
	n.selection.Driver = ""
	made := offload.TestResult{Driver: offload.Driver{Suite: tls.TLS_AES_128_GCM_SHA256, Name: "gcm_base(late)"}}
	n.results = []offload.TestResult{made} // the driver before the test is unknown
	for range 2 {
		if n.connect() {
			t.Fatal("used")
		}
	}
	n.tester.work()
	n.onWake()
	n.selection.Driver = made.Name
	n.results[0].Verified = true
	if n.connect() || len(n.tester.jobs) != 1 {
		t.Fatalf("used, or not tested: %d tests", len(n.tester.jobs))
	}
	n.tester.work()
	n.onWake()
	if !n.connect() {
		t.Error("not used")
	}
	// A cipher that the kernel did not have at the start.
	n.selection.Driver, n.results[0].Suite = "chacha", tls.TLS_CHACHA20_POLY1305_SHA256
	_, err := n.proc.drivers.find(tls.TLS_CHACHA20_POLY1305_SHA256)
	var untested *untestedError
	if !errors.As(err, &untested) || untested.subject() != "chacha" {
		t.Errorf("got %v, want that it is not tested", err)
	}
	n.selection.Driver = ""
	if _, err := n.proc.drivers.find(tls.TLS_CHACHA20_POLY1305_SHA256); errors.As(err, &untested) || !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("got %v, want that the kernel does not take it", err)
	}
}

// registeringSocket accepts keys, and a driver is registered before that.
type registeringSocket struct {
	refusingSocket
	come func()
}

func (s *registeringSocket) Offload(*ktls.Session) error {
	s.come()
	return nil
}

// TestDriverRegisteredDuringOffload: a driver that is registered while the keys are installed ends
// the connection before it has encrypted anything. A known driver does not, and it is known whether
// it is asynchronous.
func TestDriverRegisteredDuringOffload(t *testing.T) {
	preferAES(t)
	ts := startServer(t, hello, nil)
	session, _ := handshaken(t, ts)
	suite := session.Suite()
	selection := cryptoapi.Selection{Known: true, Driver: "early"}
	env := driveSettings(hello)
	env.gen.log = ts.gen.log
	env.proc.offloads.Store(true)
	env.proc.drivers.selected = func(uint16) cryptoapi.Selection { return selection }
	for _, tc := range []struct {
		comes cryptoapi.Selection
		want  opKind
		async bool // a driver that is known
	}{
		{cryptoapi.Selection{Known: true, Driver: "early"}, opRecv, false},
		{cryptoapi.Selection{Known: true, Driver: "known"}, opRecv, true},
		{cryptoapi.Selection{Known: true, Driver: "known"}, opRecv, false},
		{cryptoapi.Selection{Known: true, Driver: "early"}, opRecv, true},
		{cryptoapi.Selection{Known: true, Driver: "late"}, opClose, false},
		{cryptoapi.Selection{Known: true, Driver: "early", Testing: true}, opClose, false},
		{cryptoapi.Selection{}, opClose, false},
	} {
		env.proc.drivers.tested.Store(&[]offload.Driver{{Suite: suite, Name: "early"}, {Suite: suite, Name: "known", Async: tc.async}})
		selection.Driver, selection.Testing, selection.Known = "early", false, true
		c := newConn(env, &registeringSocket{come: func() { selection = tc.comes }}, endpoint{}, session)
		c.input.wire = make([]byte, wireBuffer)
		c.offloadSession(time.Now()).job()
		if op := c.step(event{now: time.Now()}); op.kind != tc.want || op.kind == opRecv && (c.transport != kernel || c.async != tc.async || c.driver.Name != tc.comes.Driver) {
			t.Errorf("%+v: operation %d, %v, by %+v, may wait: %v", tc, op.kind, c.transport, c.driver, c.async)
		}
	}
}
