package wrong

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCaught runs tests of the product's own packages against builds that break
// what they test: they must fail.
func TestCaught(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		variant Variant
		test    string
	}{
		{NoSeal, "TestFileChangesWhileSent"},
		{NoLinger, "TestUnreadInput"},
	} {
		t.Run(tc.variant.Name, func(t *testing.T) {
			overlay, err := tc.variant.Overlay(root, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("go", "test", "-count=1", "-overlay", overlay, "-run", "^"+tc.test+"$", "./service")
			cmd.Dir = root
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "--- FAIL: "+tc.test) {
				t.Errorf("%s does not catch it: %v\n%s", tc.test, err, out)
			}
		})
	}
}
