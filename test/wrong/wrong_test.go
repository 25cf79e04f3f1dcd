package wrong

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// TestVariantsBuild: each passage is in the source, and the replacement compiles.
func TestVariantsBuild(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range Variants() {
		t.Run(v.Name, func(t *testing.T) {
			overlay, err := v.Overlay(root, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("go", "build", "-overlay", overlay, "./ktls", "./service/...") // no linking: nothing is run
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
