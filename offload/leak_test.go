package offload

import (
	"testing"

	"uringhttpd/test/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }
