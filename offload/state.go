package offload

import (
	"encoding/json"
	"os"
	"path/filepath"

	"uringhttpd/platform"
)

// writeState writes v as JSON to a state file, and creates its directory if necessary. A file that
// a power cut has left torn does not parse, and its content is measured again.
func writeState(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return platform.WriteNote(path, data)
}
