package server

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"uringhttpd/ktls"
	"uringhttpd/service/flow"
)

var (
	simSeeds  = flag.Int("sim.seeds", 300, "how many seeds TestSimulation runs")
	simFirst  = flag.Uint64("sim.first", 1, "the first of them")
	simShrink = flag.Duration("sim.shrink", 20*time.Second, "how long to look for a short script that fails")
	simLog    = flag.Bool("sim.log", false, "print the service's log")
	simScript = flag.String("sim.script", "", "a script in hexadecimal that TestSimulation runs instead of seeds")
)

// simIdentity is the key and certificate of all simulated servers. Its
// signatures have one length, so that a script means the same each time.
type simIdentity struct {
	cert tls.Certificate
	pool *x509.CertPool
}

func newSimIdentity(t testing.TB) *simIdentity {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"board"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	id := &simIdentity{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, x509.NewCertPool()}
	id.pool.AddCert(leaf)
	return id
}

func simLogger() *slog.Logger {
	if *simLog {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.DiscardHandler)
}

// newWorld makes a world with a server and its clients.
func newWorld(s *script, id *simIdentity) *world {
	w := &world{
		script: s, clock: time.Unix(1e9, 0),
		sockets: map[int]*simSocket{}, pipes: map[*pipe][]simPage{},
	}
	sizes := []int64{1000, 0, 1, flow.Chunk - 1, flow.Chunk, flow.Chunk + 1, flow.Chunk + lastPiece, 3*flow.Chunk + 7, 300 << 10}
	w.file = &simFile{size: sizes[w.choice(len(sizes))]}
	w.kernelTLS = !w.chance(250)
	w.newDrivers()
	w.engine = w.newEngine()
	w.late = w.otherDriver != nil && w.chance(700)
	w.changing = w.chance(200)
	w.changeRate = []int{80, 8, 2}[w.choice(3)]
	if w.chance(80) {
		w.noSplice, w.noSpliceFrom = true, int64(w.choice(2))
	}
	w.deadly = w.chance(150)
	w.hasty = w.chance(50)
	w.fills = 1 + w.choice(2)
	local := w.chance(100)
	gen := &generation{
		handler:       simHandler{w},
		sessions:      ktls.NewServer(&tls.Config{Certificates: []tls.Certificate{id.cert}}),
		require:       w.chance(50),
		headerTimeout: 10 * time.Second, idleTimeout: 20 * time.Second, stallTimeout: 30 * time.Second,
		buffer: []int64{flow.MinLimit, 96 << 10}[w.choice(2)], // the smaller is met more often
		log:    simLogger(),
	}
	if w.chance(500) {
		w.cache = &simCache{w: w}
		gen.cache = w.cache
	}
	state := &loopState{memory: []int64{0, 150 << 10, 1 << 40}[w.choice(3)]}
	gen.connections = 1 + w.choice(4)
	server := &Server{
		gen: gen,
		proc: &process{
			lifetime: context.Background(),
			drivers:  drivers{selected: w.selected},
			sameHost: func(_, _ netip.Addr) bool { return local },
		},
		endRequests: func() {},
		testCipher:  w.testCipher,
		examine:     w.examine,
		listeners:   []*Listener{{fd: -1}, {fd: -1, TLS: true}},
	}
	server.proc.offloads.Store(true)
	server.proc.drivers.add(w.driver.drivers())
	if w.chance(500) {
		w.swapDrivers()
	}
	pool := func() *simPool { return &simPool{w: w} }
	w.disk = w.newDisk()
	w.loop = &loop{
		Server: server, shared: state, sys: w, fills: semaphore{free: w.fills},
		workers: pool(), disk: pool(), handshakers: pool(),
		storage: storage{closer: &simPool{w: w, free: true}},
		engine:  engine{limit: 1 + w.choice(3), closers: pool(), tester: &simPool{w: w, free: true}},
	}
	clients := 1 + w.choice(3)
	if w.late {
		clients += 2
	}
	for i := range clients {
		w.clients = append(w.clients, w.newClient(uint16(1000+i), id))
	}
	if server.gen.require {
		for _, c := range w.clients {
			c.excused("kernel TLS is required, and need not be there")
		}
	}
	return w
}

func (w *world) newClient(port uint16, id *simIdentity) *simClient {
	c := &simClient{w: w, port: port}
	c.sock = &simSocket{w: w, client: c, fd: -1, room: 4096 << w.choice(8)}
	c.slow = []int{0, 300, 900}[w.choice(3)]
	c.halfClose, c.hangUp = w.chance(200), !w.chance(300)
	paths := []string{"/file", "/parts", "/memory", "/nothing"}
	closing := false
	for range 1 + w.choice(3) {
		method := "GET"
		if w.chance(100) {
			method = "HEAD"
		}
		c.methods = append(c.methods, method)
		c.requests = fmt.Appendf(c.requests, "%s %s HTTP/1.1\r\nHost: b\r\nClient: %d\r\n", method, paths[w.choice(len(paths))], port)
		if !closing {
			c.due++
		}
		if w.chance(100) {
			closing = true
			c.requests = append(c.requests, "Connection: close\r\n"...)
		}
		c.requests = append(c.requests, "\r\n"...)
	}
	if w.chance(100) { // unread, or a bad request
		c.requests = append(c.requests, strings.Repeat("x", w.choice(20<<10))...)
	}
	if !w.chance(350) {
		c.wire = &clientWire{need: make(chan struct{}), more: make(chan struct{}), quit: make(chan struct{})}
		cfg := &tls.Config{RootCAs: id.pool, ServerName: "board", CurvePreferences: []tls.CurveID{tls.X25519}}
		if w.chance(150) {
			cfg.MaxVersion = tls.VersionTLS12
		}
		if w.chance(20) {
			c.excused("it speaks HTTP to the TLS listener")
			c.sending, c.requests, c.finSent = c.requests, nil, true
		}
		c.tls = tls.Client(c.wire, cfg)
	}
	return c
}

// memoryPage is the content of /memory.
var memoryPage = bytes.Repeat([]byte("memory"), 5000)

// simHandler is the http.Handler of a world.
type simHandler struct{ *world }

// handle writes the response.
func (w *world) handle(rw http.ResponseWriter, r *http.Request) {
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		panic(err)
	}
	c := w.clients[addr.Port()-1000]
	f := &simOpen{w: w, version: w.file.version, size: w.file.size}
	f.Acquire()
	defer f.Release()
	a := &simAnswer{version: f.version, head: r.Method == http.MethodHead}
	memory := func(text string) { a.parts = append(a.parts, ownPage([]byte(text))) }
	part := func(off, n int64) { a.parts = append(a.parts, simPage{file: w.file, off: off, n: int(n)}) }
	switch r.URL.Path {
	case "/file":
		part(0, f.size)
	case "/parts":
		memory("first part")
		part(f.size/3, f.size/2)
		memory("second part")
		part(0, f.size)
		part(f.size/2, f.size-f.size/2)
		memory("end")
	case "/memory":
		a.parts = append(a.parts, ownPage(memoryPage))
	}
	rw.Header().Set("Answer", fmt.Sprint(len(c.answers)))
	rw.Header().Set("Content-Length", fmt.Sprint(total(a.parts)))
	c.answers = append(c.answers, a)
	for _, p := range a.parts {
		if p.file == nil {
			rw.Write(p.own)
			continue
		}
		io.CopyN(rw, io.NewSectionReader(f, p.off, int64(p.n)), int64(p.n))
	}
}

// simCount counts the cases that a simulation has proven.
type simCount struct {
	unexcused    int // clients that had to get everything
	otherRecords int // records of drivers that came after the start
}

// simulate runs one script to its end and returns the first fault.
func simulate(s *script, id *simIdentity) (count simCount, err error) {
	var w *world
	defer func() { // so that the seed is known
		switch v := recover(); {
		case v == nil:
		case w != nil && len(w.faults) > 0: // the fault is the reason
			err = fmt.Errorf("%s, then panic: %v", w.faults[0], v)
		default:
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	w = newWorld(s, id)
	runErr := w.loop.run(func() {})
	w.endHanging()
	count.otherRecords = w.otherRecords
	for _, c := range w.clients {
		for end := 0; end < 100_000 && c.sock.closed && c.sock.dead == 0 && !c.stuck && (len(c.sock.queue) > 0 || c.sock.fin); end++ {
			c.sock.deliver() // TCP continues after the close
		}
		c.settle()
	}
	switch {
	case len(w.faults) > 0:
		return count, errors.New(w.faults[0])
	case runErr != nil && !errors.Is(runErr, ErrAborted) && !(w.disk.hangs && errors.Is(runErr, ErrStorage)) && !(w.engine.died && errors.Is(runErr, ErrEngineLost)):
		return count, fmt.Errorf("run: %w", runErr)
	}
	if err := w.remains(); err != nil {
		return count, err
	}
	for _, c := range w.clients {
		if !c.sock.taken {
			continue // the service had stopped accepting
		}
		if c.excuse == "" {
			count.unexcused++
		}
		if err := c.verdict(); err != nil {
			return count, err
		}
	}
	return count, nil
}

// TestSimulation runs the loop and its connections against kernels and clients
// that a seed controls: every result that the real ones may return, at any
// time and in any order. A seed that fails is shrunk to a short script.
func TestSimulation(t *testing.T) {
	id := newSimIdentity(t)
	if *simScript != "" {
		data, err := hex.DecodeString(*simScript)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := simulate(&script{data: data}, id); err != nil {
			t.Fatal(err)
		}
		return
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // worlds are short, and much is thrown away
	goroutines := runtime.NumGoroutine()
	var unexcused, otherRecords atomic.Int64
	var next atomic.Uint64
	var wait sync.WaitGroup
	var once sync.Once
	for range runtime.GOMAXPROCS(0) {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for i := next.Add(1) - 1; i < uint64(*simSeeds) && !t.Failed(); i = next.Add(1) - 1 {
				s := seeded(*simFirst + i)
				n, err := simulate(s, id)
				unexcused.Add(int64(n.unexcused))
				otherRecords.Add(int64(n.otherRecords))
				if err != nil {
					once.Do(func() { failed(t, *simFirst+i, s.data, err, id) })
				}
			}
		}()
	}
	wait.Wait()
	t.Logf("%d seeds; %d clients without faults received all data; %d records by drivers registered late", *simSeeds, unexcused.Load(), otherRecords.Load())
	if *simSeeds >= 100 && !t.Failed() && (unexcused.Load() < int64(*simSeeds)/2 || otherRecords.Load() < int64(*simSeeds)/10) {
		t.Error("too many clients are excused in these worlds, or drivers registered late are not used: the test proves little")
	}
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > goroutines; {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, before %d: sessions are not closed", runtime.NumGoroutine(), goroutines)
		}
		time.Sleep(time.Millisecond) // they have sent their last bytes, and are ending
	}
}

// failed reports a seed, with the command that runs it again, and the shortest
// script that fails too.
func failed(t *testing.T, seed uint64, data []byte, err error, id *simIdentity) {
	t.Errorf("seed %d: %v\nagain: go test ./service/server -run TestSimulation -sim.first %d -sim.seeds 1", seed, err, seed)
	last := err
	short := shrink(data, time.Now().Add(*simShrink), func(d []byte) bool {
		_, err := simulate(&script{data: bytes.Clone(d)}, id)
		if err != nil {
			last = err
		}
		return err != nil
	})
	t.Errorf("shrunk from %d to %d bytes: %v\nagain: go test ./service/server -run TestSimulation -sim.script %x", len(data), len(short), last, short)
}

// FuzzSimulation runs scripts of the fuzzer.
func FuzzSimulation(f *testing.F) {
	id := newSimIdentity(f)
	f.Add([]byte{})
	for seed := range uint64(20) {
		s := seeded(seed)
		simulate(s, id)
		f.Add(s.data[:min(len(s.data), 4<<10)])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := simulate(&script{data: data}, id); err != nil {
			t.Error(err)
		}
	})
}
