package priority

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

// A fakeKernel has drivers, and changes their priorities.
type fakeKernel struct {
	all     []cryptoapi.Algorithm
	refuses error
	sets    int
}

func (k *fakeKernel) drivers() ([]cryptoapi.Algorithm, error) {
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

func (k *fakeKernel) selected() string {
	all, _ := k.drivers()
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

// acquireExclusive acquires the lock, which no other process must hold.
func acquireExclusive(t *testing.T, k kernel, dir string) *Lock {
	t.Helper()
	p, err := acquire(k, dir, 0)
	if err != nil || !p.Exclusive() {
		t.Fatalf("got %+v, %v; want an exclusive lock", p, err)
	}
	return p
}

// crash ends a process without Release: only the lock ends.
func crash(p *Lock) { p.file.Close() }

// TestRaiseIsRevertedAtTheEnd: the wanted driver is selected, and the old priorities are restored
// when the process ends, or when the next one starts after a crash.
func TestRaiseIsRevertedAtTheEnd(t *testing.T) {
	for _, tt := range []struct {
		name          string
		hardwareFirst bool
		hardware      bool
		want          *Change
		selected      string
	}{
		{"hardware, which is selected", true, true, nil, "gcm-aes-caam"},
		{"the cores", true, false, &Change{"gcm-aes-ce", 300, 3001}, "gcm-aes-ce"},
		{"the cores, which are selected", false, false, nil, "gcm-aes-ce"},
		{"hardware", false, true, &Change{"gcm-aes-caam", 50, 301}, "gcm-aes-caam"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k, dir := newFakeKernel(tt.hardwareFirst), filepath.Join(t.TempDir(), "run")
			initial, _ := k.drivers()
			for _, end := range []string{"stop", "crash", "crash", "stop"} {
				p := acquireExclusive(t, k, dir)
				if now, _ := k.drivers(); !reflect.DeepEqual(now, initial) {
					t.Fatalf("begins with %+v, want %+v", now, initial)
				}
				got, err := p.Raise(tt.hardware)
				if err != nil || !reflect.DeepEqual(got, tt.want) || k.selected() != tt.selected {
					t.Fatalf("got %+v, %v, selected %s", got, err, k.selected())
				}
				if end == "crash" {
					crash(p)
				} else if err := p.Release(); err != nil {
					t.Fatal(err)
				}
			}
			if now, _ := k.drivers(); !reflect.DeepEqual(now, initial) {
				t.Errorf("ends with %+v, want %+v", now, initial)
			}
			if _, err := os.Stat(filepath.Join(dir, stateName)); err == nil {
				t.Error("the state file is left")
			}
		})
	}
}

// TestSharedLockChangesNothing: a process with a shared lock changes no priority; the last process
// to end reverts the change.
func TestSharedLockChangesNothing(t *testing.T) {
	k, dir := newFakeKernel(true), t.TempDir()
	first := acquireExclusive(t, k, dir)
	if _, err := first.Raise(false); err != nil {
		t.Fatal(err)
	}
	if err := first.Downgrade(); err != nil {
		t.Fatal(err)
	}
	second, err := acquire(k, dir, 0)
	if err != nil || second.Exclusive() || k.selected() != "gcm-aes-ce" {
		t.Fatalf("got %+v, %v, selected %s", second, err, k.selected())
	}
	if _, err := second.Raise(true); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v, want ErrInUse", err)
	}
	if r, err := second.Raise(false); err != nil || r != nil {
		t.Errorf("the driver is already selected: %+v, %v", r, err)
	}
	if err := first.Release(); err != nil || k.selected() != "gcm-aes-ce" {
		t.Errorf("the first has ended, and the second relies on it: %v, selected %s", err, k.selected())
	}
	third, err := acquire(k, dir, 0)
	if err != nil || third.Exclusive() {
		t.Fatalf("got %+v, %v", third, err)
	}
	if err := second.Release(); err != nil || k.selected() != "gcm-aes-ce" {
		t.Errorf("the second has ended: %v, selected %s", err, k.selected())
	}
	if err := third.Release(); err != nil || k.selected() != "gcm-aes-caam" {
		t.Errorf("the last has ended: %v, selected %s", err, k.selected())
	}
	alone := acquireExclusive(t, k, dir)
	defer alone.Release()
	if p, err := acquire(k, dir, 0); p != nil || !errors.Is(err, ErrInUse) {
		t.Errorf("beside an exclusive lock: %+v, %v", p, err)
	}
}

// TestRevertKeepsOtherChanges: a priority that an administrator has set since then stays.
func TestRevertKeepsOtherChanges(t *testing.T) {
	k := newFakeKernel(true)
	p := acquireExclusive(t, k, t.TempDir())
	if _, err := p.Raise(false); err != nil {
		t.Fatal(err)
	}
	k.setPriority("gcm-aes-ce", 7)
	if err := p.Release(); err != nil || priorityOf(k.all, "gcm-aes-ce") != 7 {
		t.Errorf("%v, %+v", err, k.all)
	}
}

// TestRaiseInstantiatesDriver: with an engine that was registered at boot, the kernel has never
// built a driver that uses the cores.
func TestRaiseInstantiatesDriver(t *testing.T) {
	k := newFakeKernel(true)
	k.all = k.all[3:]
	p := acquireExclusive(t, k, t.TempDir())
	if r, err := p.Raise(false); err != nil || r == nil || k.selected() != "gcm_base(made)" {
		t.Errorf("got %+v, %v", r, err)
	}
	p.Release()
}

// TestRaiseWithoutPermission: without CAP_NET_ADMIN nothing changes, and a change that cannot be
// reverted is reported, and reverted later.
func TestRaiseWithoutPermission(t *testing.T) {
	k, dir := newFakeKernel(true), t.TempDir()
	k.refuses = cryptoapi.ErrNotAllowed
	p := acquireExclusive(t, k, dir)
	if _, err := p.Raise(false); !errors.Is(err, cryptoapi.ErrNotAllowed) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, stateName)); err == nil {
		t.Error("the state file has a change that was not made")
	}
	k.refuses = nil
	k.all = k.all[:3]
	if _, err := p.Raise(true); !errors.Is(err, ErrNoDriver) {
		t.Errorf("without an engine: %v", err)
	}
	if _, err := p.Raise(false); err != nil {
		t.Fatal(err)
	}
	p.Release()

	// The capability is missing after a crash.
	k = newFakeKernel(true)
	p = acquireExclusive(t, k, dir)
	if _, err := p.Raise(false); err != nil {
		t.Fatal(err)
	}
	crash(p)
	k.refuses = cryptoapi.ErrNotAllowed
	p, err := acquire(k, dir, 0)
	if !errors.Is(err, cryptoapi.ErrNotAllowed) || p == nil || !p.Exclusive() {
		t.Fatalf("got %+v, %v", p, err)
	}
	if _, err := p.Raise(true); !errors.Is(err, cryptoapi.ErrNotAllowed) {
		t.Errorf("over a change that was not reverted: %v", err)
	}
	if err := p.Release(); !errors.Is(err, cryptoapi.ErrNotAllowed) {
		t.Errorf("Release: %v", err)
	}
	k.refuses = nil
	p = acquireExclusive(t, k, dir)
	if k.selected() != "gcm-aes-caam" {
		t.Error("the change was never reverted")
	}
	p.Release()
}

// TestForeignStateFiles: the owner of the directory may have put any file there.
func TestForeignStateFiles(t *testing.T) {
	k, dir := newFakeKernel(true), t.TempDir()
	name, target := filepath.Join(dir, stateName), filepath.Join(t.TempDir(), "target")
	if err := os.WriteFile(target, []byte(`{"driver": "gcm-aes-ce", "before": 9000, "after": 300}`), 0o600); err != nil {
		t.Fatal(err)
	}
	try := func(kind string, ok bool) {
		t.Helper()
		p, err := acquire(k, dir, 0)
		if p == nil || (err == nil) != ok || k.sets != 0 {
			t.Fatalf("%s: %+v, %v, %d changes", kind, p, err, k.sets)
		}
		if ok {
			p.Release()
		} else if _, err := p.Raise(false); err == nil {
			t.Errorf("%s: a priority is changed nevertheless", kind)
		}
		p.file.Close()
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
	if err := os.WriteFile(name, []byte(`{"driver": "`+strings.Repeat("x", 64<<10)+`"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	try("a long file", true)
	if err := os.WriteFile(name, []byte(`{"driv`), 0o600); err != nil {
		t.Fatal(err)
	}
	try("half a file", true)
	os.Remove(filepath.Join(dir, lockName))
	if err := os.Symlink(target, filepath.Join(dir, lockName)); err != nil {
		t.Fatal(err)
	}
	if p, err := acquire(k, dir, 0); err == nil {
		t.Errorf("a link in place of the lock: %+v", p)
	}
}

// TestRaiseNeedsItsLock: a process whose lock was removed raises nothing, since another one
// may have locked a new file.
func TestRaiseNeedsItsLock(t *testing.T) {
	for _, recreate := range []bool{false, true} {
		k, dir := newFakeKernel(true), filepath.Join(t.TempDir(), "run")
		p := acquireExclusive(t, k, dir)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if recreate {
			other := acquireExclusive(t, k, dir)
			defer other.Release()
		}
		initial, _ := k.drivers()
		change, err := p.Raise(false)
		if now, _ := k.drivers(); err == nil || change != nil || !reflect.DeepEqual(now, initial) {
			t.Errorf("recreated %t: got %+v, %v", recreate, change, err)
		}
		crash(p)
	}
}
