package platform

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadOption(t *testing.T) {
	const text = "#\n# Linux/arm64 6.12.1 Kernel Configuration\n#\nCONFIG_NET=y\n# CONFIG_TLS_TOE is not set\nCONFIG_TLS=m\nCONFIG_TLS_DEVICE=y\n"
	dir := t.TempDir()
	compressed, plain := filepath.Join(dir, "config.gz"), filepath.Join(dir, "config")
	look := func(option string, want kernelOption) {
		t.Helper()
		if got := readOption(compressed, plain, option); got != want {
			t.Errorf("%s: %d, want %d", option, got, want)
		}
	}
	look("CONFIG_TLS", optionUnknown)
	write := func(name string, data []byte) {
		t.Helper()
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(plain, []byte(text))
	look("CONFIG_TLS", optionModule)
	look("CONFIG_NET", optionBuiltIn)
	look("CONFIG_TLS_TOE", optionNo)
	look("CONFIG_T", optionNo)
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write([]byte(strings.Replace(text, "CONFIG_TLS=m", "CONFIG_TLS=y", 1)))
	w.Close()
	write(compressed, z.Bytes()) // it is the one that runs
	look("CONFIG_TLS", optionBuiltIn)
	write(compressed, z.Bytes()[:z.Len()/2])
	look("CONFIG_TLS_DEVICE", optionUnknown)
	write(compressed, []byte("no gzip"))
	look("CONFIG_TLS", optionModule)
	write(plain, []byte("x"))
	look("CONFIG_TLS", optionUnknown)
}
