package wrong

import (
	"path/filepath"
	"testing"
)

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
