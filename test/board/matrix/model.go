package matrix

// The factors of Boards.
const (
	Kernel  = "kernel"
	Engine  = "engine"
	TLS     = "TLS"
	Cipher  = "cipher"
	Client  = "client"
	Place   = "place"
	Buffers = "buffers"
	Network = "network"
)

// Levels that the code uses by name.
const (
	tls12   = "1.2"
	aes128  = "AES-128-GCM"
	aes256  = "AES-256-GCM"
	chacha  = "ChaCha20-Poly1305"
	sharp   = "sharp"
	lossy   = "loss and delay"
	atOnce  = "64 at once"
	kept    = "keep-alive"
	oneGo   = "pipelined"
	ranges  = "ranges"
	keys    = "key update"
	askKeys = "key update, both"
	silent  = "silent"
	hangsUp = "resets"
	alerts  = "fatal alert"

	accelerated = "accelerated"
)

// Boards is the space of test conditions of the daemon. Kernels have the names of package
// board's boards, and engines those of its engines.
func Boards() *Model {
	m := &Model{
		Factors: []Factor{
			{Kernel, []string{"amd64", "amd64-6.1", "amd64-new", "arm64", "aarch32", "armv7"}},
			{Engine, []string{"sync", "cryptd", "pcrypt", "caam", accelerated}},
			{TLS, []string{"1.3", tls12}},
			{Cipher, []string{aes128, aes256, chacha}},
			{Client, nil},
			{Place, nil},
			{Buffers, []string{"default", sharp}},
			{Network, []string{"plain", lossy}},
		},
		Rules: []Rule{
			{"cryptd's gcm(aes) fails the self-test of Linux 6.1", map[string][]string{
				Kernel: {"amd64-6.1"}, Engine: {"cryptd"}}},
			{"Debian's newest kernel has no cryptd, and modules for it need a newer compiler than Debian 12 has", map[string][]string{
				Kernel: {"amd64-new"}, Engine: {"cryptd", "caam"}}},
			{"Debian's kernel for arm64 has no cryptd", map[string][]string{
				Kernel: {"arm64", "aarch32"}, Engine: {"cryptd"}}},
			{"the accelerated ciphers belong to another machine", map[string][]string{
				Kernel: {"amd64-6.1", "amd64-new", "aarch32"}, Engine: {accelerated}}},
			{"TLS 1.2 has no KeyUpdate", map[string][]string{
				TLS: {tls12}, Client: {keys, askKeys}}},
			{"the client that makes its own records supports only AES-GCM", map[string][]string{
				Cipher: {chacha}, Client: {keys, askKeys}}},
			{"an empty file has no ranges", map[string][]string{
				Place: {"0"}, Client: {"range", ranges}}},
			{"2 MiB at 16 KiB/s take two minutes", map[string][]string{
				Place: {"2 MiB + 5"}, Client: {"16 KiB/s"}}},
		},
		Triples: [][3]string{{Kernel, Engine, Client}},
	}
	for _, c := range behaviours {
		m.Factors[m.factor(Client)].Levels = append(m.Factors[m.factor(Client)].Levels, c.name)
	}
	for _, p := range places {
		m.Factors[m.factor(Place)].Levels = append(m.Factors[m.factor(Place)].Levels, p.name)
	}
	return m
}
