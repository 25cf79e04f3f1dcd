package wrong

import (
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// TestVariantsBuild: the mutants that TestCaught does not build compile.
func TestVariantsBuild(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range Variants() {
		if slices.ContainsFunc(caught, func(c caughtMutant) bool { return c.variant.Name == v.Name }) {
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
			overlay, err := v.Overlay(root, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("go", "build", "-overlay", overlay, "./...") // no linking: nothing is run
			cmd.Dir = root
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// TestPassages: each passage is in the source.
func TestPassages(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range Variants() {
		if _, err := v.Overlay(root, t.TempDir()); err != nil {
			t.Error(err)
		}
	}
}
