package platform

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// fakeKernel has algorithms, and changes their priorities.
type fakeKernel struct {
	all     []Algorithm
	refuses error
	sets    int
}

func (k *fakeKernel) algorithms() ([]Algorithm, error) { return named(k.all, gcmAES), nil }

func (k *fakeKernel) setPriority(driver string, priority int) error {
	k.sets++
	if k.refuses != nil {
		return k.refuses
	}
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
	k.all = append(k.all, Algorithm{Name: gcmAES, Driver: "gcm_base(made)", Type: "aead", SelfTest: "passed", Priority: 100})
	return nil
}

func (k *fakeKernel) picked() string {
	all, _ := k.algorithms()
	return all[0].Driver
}

func newFakeKernel(hardwareFirst bool) *fakeKernel {
	engine := Algorithm{Name: gcmAES, Driver: "gcm-aes-caam", Type: "aead", SelfTest: "passed", Priority: 3000, Hardware: true, Async: true}
	cores := Algorithm{Name: gcmAES, Driver: "gcm-aes-ce", Type: "aead", SelfTest: "passed", Priority: 300}
	slow := Algorithm{Name: gcmAES, Driver: "gcm_base(ctr-aes,ghash)", Type: "aead", SelfTest: "passed", Priority: 100}
	broken := Algorithm{Name: gcmAES, Driver: "gcm-broken", Type: "aead", SelfTest: "unknown", Priority: 9000, Hardware: true}
	if !hardwareFirst {
		engine.Priority = 50
	}
	return &fakeKernel{all: []Algorithm{slow, broken, cores, engine}}
}

func TestPrefer(t *testing.T) {
	for _, tt := range []struct {
		name            string
		hardwareFirst   bool
		hardware        bool
		want            *Raised
		picked, initial string
	}{
		{"hardware, which is picked", true, true, nil, "gcm-aes-caam", "gcm-aes-caam"},
		{"the cores", true, false, &Raised{"gcm-aes-ce", 300, 300, 3001}, "gcm-aes-ce", "gcm-aes-caam"},
		{"the cores, which are picked", false, false, nil, "gcm-aes-ce", "gcm-aes-ce"},
		{"hardware", false, true, &Raised{"gcm-aes-caam", 50, 50, 301}, "gcm-aes-caam", "gcm-aes-ce"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k, path := newFakeKernel(tt.hardwareFirst), filepath.Join(t.TempDir(), "run", "note")
			before, _ := k.algorithms()
			got, err := prefer(k, path, tt.hardware)
			if err != nil || !reflect.DeepEqual(got, tt.want) || k.picked() != tt.picked {
				t.Fatalf("got %+v, %v, picked %s; want %+v", got, err, k.picked(), tt.want)
			}
			// The process is killed, and the next one wants the same: nothing more is changed.
			sets := k.sets
			again, err := prefer(k, path, tt.hardware)
			if err != nil || !reflect.DeepEqual(again, tt.want) || k.sets != sets {
				t.Errorf("again: %+v, %v, %d changes", again, err, k.sets-sets)
			}
			if again != nil {
				if err := again.undo(k, path); err != nil {
					t.Fatal(err)
				}
			}
			if after, _ := k.algorithms(); !reflect.DeepEqual(before, after) {
				t.Errorf("not undone: %+v, before %+v", after, before)
			}
			if _, err := os.Stat(path); err == nil {
				t.Error("the note stays")
			}
		})
	}
}

// TestPreferOther: the process before wanted the other thing, and was killed.
func TestPreferOther(t *testing.T) {
	k, path := newFakeKernel(true), filepath.Join(t.TempDir(), "note")
	if _, err := prefer(k, path, false); err != nil {
		t.Fatal(err)
	}
	if r, err := prefer(k, path, true); r != nil || err != nil || k.picked() != "gcm-aes-caam" || priorityOf(k.all, "gcm-aes-ce") != 300 {
		t.Errorf("got %+v, %v, %+v", r, err, k.all)
	}
	if _, err := prefer(k, path, false); err != nil {
		t.Fatal(err)
	}
	if err := restore(k, path); err != nil || priorityOf(k.all, "gcm-aes-ce") != 300 {
		t.Errorf("restored: %v, %+v", err, k.all)
	}
	if err := restore(k, path); err != nil || k.sets != 4 {
		t.Errorf("restored again: %v, %d changes", err, k.sets)
	}
}

// TestPreferLater: a driver that comes later outranks the one that was raised; what it
// was before it was raised is not forgotten.
func TestPreferLater(t *testing.T) {
	k, path := newFakeKernel(true), filepath.Join(t.TempDir(), "note")
	if _, err := prefer(k, path, false); err != nil {
		t.Fatal(err)
	}
	k.all = append(k.all, Algorithm{Name: gcmAES, Driver: "gcm-aes-other", Type: "aead", SelfTest: "passed", Priority: 5000, Hardware: true})
	k.refuses = errors.New("killed")
	if _, err := prefer(k, path, false); err == nil || k.picked() != "gcm-aes-other" {
		t.Errorf("got %v, picked %s", err, k.picked())
	}
	k.refuses = nil
	r, err := prefer(k, path, false)
	if want := (&Raised{"gcm-aes-ce", 300, 3001, 5001}); err != nil || !reflect.DeepEqual(r, want) || k.picked() != "gcm-aes-ce" {
		t.Errorf("got %+v, %v; want %+v", r, err, want)
	}
	if err := restore(k, path); err != nil || priorityOf(k.all, "gcm-aes-ce") != 300 {
		t.Errorf("restored: %v, %+v", err, k.all)
	}
}

// TestUndoOfOthers: a priority that an administrator has set since then stays.
func TestUndoOfOthers(t *testing.T) {
	k, path := newFakeKernel(true), filepath.Join(t.TempDir(), "note")
	r, err := prefer(k, path, false)
	if err != nil {
		t.Fatal(err)
	}
	k.setPriority("gcm-aes-ce", 7)
	if err := r.undo(k, path); err != nil || priorityOf(k.all, "gcm-aes-ce") != 7 {
		t.Errorf("%v, %+v", err, k.all)
	}
}

// TestPreferMade: with an engine that has been there since boot, the kernel has never
// made anything of the cores.
func TestPreferMade(t *testing.T) {
	k, path := newFakeKernel(true), filepath.Join(t.TempDir(), "note")
	k.all = k.all[3:]
	if r, err := prefer(k, path, false); err != nil || r == nil || k.picked() != "gcm_base(made)" {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestPreferRefused(t *testing.T) {
	k, path := newFakeKernel(true), filepath.Join(t.TempDir(), "note")
	k.refuses = ErrNotAllowed
	if _, err := prefer(k, path, false); !errors.Is(err, ErrNotAllowed) {
		t.Errorf("got %v", err)
	}
	k.refuses = nil // what was noted and not done is no change
	if r, err := prefer(k, path, true); r != nil || err != nil {
		t.Errorf("got %+v, %v", r, err)
	}
	k.all = k.all[:3]
	if _, err := prefer(k, path, true); !errors.Is(err, ErrNoSuchDriver) {
		t.Errorf("without an engine: %v", err)
	}
	if err := os.WriteFile(path, []byte(`{"driv`), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := prefer(k, path, false); r != nil || err != nil {
		t.Errorf("a note that was cut off: %+v, %v", r, err)
	}
}
