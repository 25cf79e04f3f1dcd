package platform

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"uringhttpd/ktls"
	"uringhttpd/platform/cryptoapi"
)

// fakeKernel has algorithms, and changes their priorities.
type fakeKernel struct {
	all     []cryptoapi.Algorithm
	refuses error
	sets    int
}

func (k *fakeKernel) algorithms() ([]cryptoapi.Algorithm, error) {
	return cryptoapi.Implementations(k.all, ktls.AlgorithmGCM), nil
}

func (k *fakeKernel) setPriority(driver string, priority int) error {
	if k.refuses != nil {
		return k.refuses
	}
	k.sets++
	for i := range k.all {
		if k.all[i].Driver == driver {
			k.all[i].Priority = priority
		}
	}
	return nil
}

func (k *fakeKernel) instantiate() error {
	if k.refuses != nil {
		return k.refuses
	}
	k.all = append(k.all, cryptoapi.Algorithm{Name: ktls.AlgorithmGCM, Driver: "gcm_base(made)", Type: "aead", SelfTest: "passed", Priority: 100})
	return nil
}

func (k *fakeKernel) picked() string {
	all, _ := k.algorithms()
	return all[0].Driver
}

func newFakeKernel(hardwareFirst bool) *fakeKernel {
	engine := cryptoapi.Algorithm{Name: ktls.AlgorithmGCM, Driver: "gcm-aes-caam", Type: "aead", SelfTest: "passed", Priority: 3000, Hardware: true, Async: true}
	cores := cryptoapi.Algorithm{Name: ktls.AlgorithmGCM, Driver: "gcm-aes-ce", Type: "aead", SelfTest: "passed", Priority: 300}
	slow := cryptoapi.Algorithm{Name: ktls.AlgorithmGCM, Driver: "gcm_base(ctr-aes,ghash)", Type: "aead", SelfTest: "passed", Priority: 100}
	broken := cryptoapi.Algorithm{Name: ktls.AlgorithmGCM, Driver: "gcm-broken", Type: "aead", SelfTest: "unknown", Priority: 9000, Hardware: true}
	if !hardwareFirst {
		engine.Priority = 50
	}
	return &fakeKernel{all: []cryptoapi.Algorithm{slow, broken, cores, engine}}
}

// open is for a process that can be alone.
func open(t *testing.T, k cryptoKernel, dir string) *Preference {
	t.Helper()
	p, err := openPreference(k, dir, 0)
	if err != nil || !p.Alone() {
		t.Fatalf("got %+v, %v; want to be alone", p, err)
	}
	return p
}

// crash is the end of a process: its lock ends.
func crash(p *Preference) { p.lock.Close() }

func TestPrefer(t *testing.T) {
	for _, tt := range []struct {
		name          string
		hardwareFirst bool
		hardware      bool
		want          *Raised
		picked        string
	}{
		{"hardware, which is picked", true, true, nil, "gcm-aes-caam"},
		{"the cores", true, false, &Raised{"gcm-aes-ce", 300, 3001}, "gcm-aes-ce"},
		{"the cores, which are picked", false, false, nil, "gcm-aes-ce"},
		{"hardware", false, true, &Raised{"gcm-aes-caam", 50, 301}, "gcm-aes-caam"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k, dir := newFakeKernel(tt.hardwareFirst), filepath.Join(t.TempDir(), "run")
			initial, _ := k.algorithms()
			for _, end := range []string{"stop", "crash", "crash", "stop"} {
				p := open(t, k, dir)
				if now, _ := k.algorithms(); !reflect.DeepEqual(now, initial) {
					t.Fatalf("begins with %+v, want %+v", now, initial)
				}
				got, err := p.Prefer(tt.hardware)
				if err != nil || !reflect.DeepEqual(got, tt.want) || k.picked() != tt.picked {
					t.Fatalf("got %+v, %v, picked %s", got, err, k.picked())
				}
				if end == "crash" {
					crash(p)
				} else if err := p.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if now, _ := k.algorithms(); !reflect.DeepEqual(now, initial) {
				t.Errorf("ends with %+v, want %+v", now, initial)
			}
			if _, err := os.Stat(filepath.Join(dir, noteName)); err == nil {
				t.Error("the note stays")
			}
		})
	}
}

// TestPreferTogether: who is not alone changes nothing, and takes nothing back.
func TestPreferTogether(t *testing.T) {
	k, dir := newFakeKernel(true), t.TempDir()
	first := open(t, k, dir)
	if _, err := first.Prefer(false); err != nil {
		t.Fatal(err)
	}
	if err := first.Share(); err != nil {
		t.Fatal(err)
	}
	second, err := openPreference(k, dir, 0)
	if err != nil || second.Alone() || k.picked() != "gcm-aes-ce" {
		t.Fatalf("got %+v, %v, picked %s", second, err, k.picked())
	}
	if _, err := second.Prefer(true); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v, want ErrInUse", err)
	}
	if r, err := second.Prefer(false); err != nil || r != nil {
		t.Errorf("what is so already: %+v, %v", r, err)
	}
	if err := first.Close(); err != nil || k.picked() != "gcm-aes-ce" {
		t.Errorf("the first has ended, and the second counts on it: %v, picked %s", err, k.picked())
	}
	third, err := openPreference(k, dir, 0)
	if err != nil || third.Alone() {
		t.Fatalf("got %+v, %v", third, err)
	}
	if err := second.Close(); err != nil || k.picked() != "gcm-aes-ce" {
		t.Errorf("the second has ended: %v, picked %s", err, k.picked())
	}
	if err := third.Close(); err != nil || k.picked() != "gcm-aes-caam" {
		t.Errorf("the last has ended: %v, picked %s", err, k.picked())
	}
	alone := open(t, k, dir)
	defer alone.Close()
	if p, err := openPreference(k, dir, 0); p != nil || !errors.Is(err, ErrInUse) {
		t.Errorf("beside one that is alone: %+v, %v", p, err)
	}
}

// TestUndoOfOthers: a priority that an administrator has set since then stays.
func TestUndoOfOthers(t *testing.T) {
	k := newFakeKernel(true)
	p := open(t, k, t.TempDir())
	if _, err := p.Prefer(false); err != nil {
		t.Fatal(err)
	}
	k.setPriority("gcm-aes-ce", 7)
	if err := p.Close(); err != nil || priorityOf(k.all, "gcm-aes-ce") != 7 {
		t.Errorf("%v, %+v", err, k.all)
	}
}

// TestPreferMade: with an engine that has been there since boot, the kernel has never
// made anything of the cores.
func TestPreferMade(t *testing.T) {
	k := newFakeKernel(true)
	k.all = k.all[3:]
	p := open(t, k, t.TempDir())
	if r, err := p.Prefer(false); err != nil || r == nil || k.picked() != "gcm_base(made)" {
		t.Errorf("got %+v, %v", r, err)
	}
	p.Close()
}

func TestPreferRefused(t *testing.T) {
	k, dir := newFakeKernel(true), t.TempDir()
	k.refuses = cryptoapi.ErrNotAllowed
	p := open(t, k, dir)
	if _, err := p.Prefer(false); !errors.Is(err, cryptoapi.ErrNotAllowed) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, noteName)); err == nil {
		t.Error("what was not done is noted")
	}
	k.refuses = nil
	k.all = k.all[:3]
	if _, err := p.Prefer(true); !errors.Is(err, ErrNoSuchDriver) {
		t.Errorf("without an engine: %v", err)
	}
	if _, err := p.Prefer(false); err != nil {
		t.Fatal(err)
	}
	p.Close()

	// The right is lost after a crash.
	k = newFakeKernel(true)
	p = open(t, k, dir)
	if _, err := p.Prefer(false); err != nil {
		t.Fatal(err)
	}
	crash(p)
	k.refuses = cryptoapi.ErrNotAllowed
	p, err := openPreference(k, dir, 0)
	if !errors.Is(err, cryptoapi.ErrNotAllowed) || p == nil || !p.Alone() {
		t.Fatalf("got %+v, %v", p, err)
	}
	if _, err := p.Prefer(true); !errors.Is(err, cryptoapi.ErrNotAllowed) {
		t.Errorf("over what is left: %v", err)
	}
	if err := p.Close(); !errors.Is(err, cryptoapi.ErrNotAllowed) {
		t.Errorf("closed: %v", err)
	}
	k.refuses = nil
	p = open(t, k, dir)
	if k.picked() != "gcm-aes-caam" {
		t.Error("what could not be taken back is forgotten")
	}
	p.Close()
}

// TestForeignNotes: whoever owns the folder may have put anything there.
func TestForeignNotes(t *testing.T) {
	k, dir := newFakeKernel(true), t.TempDir()
	name, target := filepath.Join(dir, noteName), filepath.Join(t.TempDir(), "target")
	if err := os.WriteFile(target, []byte(`{"driver": "gcm-aes-ce", "before": 9000, "after": 300}`), 0o600); err != nil {
		t.Fatal(err)
	}
	try := func(what string, ok bool) {
		t.Helper()
		p, err := openPreference(k, dir, 0)
		if p == nil || (err == nil) != ok || k.sets != 0 {
			t.Fatalf("%s: %+v, %v, %d changes", what, p, err, k.sets)
		}
		if ok {
			p.Close()
		} else if _, err := p.Prefer(false); err == nil {
			t.Errorf("%s: something is changed beside it", what)
		}
		p.lock.Close()
		os.Remove(name)
	}
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
	try("a link", false)
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	try("a FIFO", false)
	if err := os.WriteFile(name, []byte(`{"driver": "`+strings.Repeat("x", maxNote)+`"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	try("a long note", true)
	if err := os.WriteFile(name, []byte(`{"driv`), 0o600); err != nil {
		t.Fatal(err)
	}
	try("half a note", true)
	os.Remove(filepath.Join(dir, lockName))
	if err := os.Symlink(target, filepath.Join(dir, lockName)); err != nil {
		t.Fatal(err)
	}
	if p, err := openPreference(k, dir, 0); err == nil {
		t.Errorf("a link for a lock: %+v", p)
	}
}
