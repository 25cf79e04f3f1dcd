//go:build yocto

package yocto

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), parseTimeout)
	t.Cleanup(cancel)
	return ctx
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// tail returns the end of the output of a failed command.
func tail(text string) string {
	const most = 8000
	return text[max(0, len(text)-most):]
}

// summary returns the lines of BitBake's output that summarize its work.
func summary(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "Parsing of ") || strings.HasPrefix(line, "NOTE: Tasks Summary") || strings.Contains(line, " targets, ") && !strings.HasPrefix(line, "#") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return strings.Join(lines, "\n")
}
