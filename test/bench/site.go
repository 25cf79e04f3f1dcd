package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// A site holds the files that all servers serve, and a certificate.
type site struct {
	dir       string // for configurations
	root      string
	cert, key string
}

// files are the sizes in bytes of the files to serve, by name.
var files = map[string]int64{
	"1k": 1 << 10, "16k": 16 << 10, "64k": 64 << 10, "256k": 256 << 10, "1m": 1 << 20, "64m": 64 << 20, "1g": 1 << 30,
}

func newSite(ctx context.Context, dir, program string) (*site, error) {
	s := &site{dir: dir, root: filepath.Join(dir, "root")}
	if err := os.Mkdir(s.root, 0o755); err != nil {
		return nil, err
	}
	for name, size := range files {
		f, err := os.Create(filepath.Join(s.root, name))
		if err != nil {
			return nil, err
		}
		_, err = io.CopyN(f, rand.NewChaCha8([32]byte{byte(size >> 8)}), size)
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return nil, err
		}
	}
	keys := filepath.Join(dir, "keys")
	if _, err := run(ctx, program, "keygen", "-out", keys, "-name", serverAddress); err != nil {
		return nil, fmt.Errorf("%w; run make first", err)
	}
	s.cert, s.key = filepath.Join(keys, "cert.pem"), filepath.Join(keys, "key.pem")
	return s, nil
}

// write makes a configuration file and returns its path.
func (s *site) write(name, text string) (string, error) {
	path := filepath.Join(s.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o644)
}
