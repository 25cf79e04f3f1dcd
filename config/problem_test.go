package config

import (
	"errors"
	"strings"
	"testing"
)

// TestProblemHasTheLineOfItsKey: Config.Problem uses the line of the key or, if the key is not
// in the file, of its nearest parent.
func TestProblemHasTheLineOfItsKey(t *testing.T) {
	c := mustParse(t, `# a comment
index: off
listen:
  - tls: true
    address: ":443"
  -
    address: ":80"
root: /srv
tls:
  certificate: c.pem
  key: k.pem
`)
	for _, test := range []struct {
		key  string
		line int
	}{
		{"listen", 3},
		{"listen[0]", 4},
		{"listen[0].address", 5},
		{"listen[0].tls", 4},
		{"listen[1].address", 7},
		{"listen[1].tls", 7},
		{"listen[7].address", 3},
		{"root", 8},
		{"tls.key", 11},
		{"tls.client_ca", 9},
		{"metrics.address", 2},
		{"", 2},
	} {
		got := c.Problem(test.key, "is wrong", "be right")
		want := Problem{File: "f.yaml", Line: test.line, Key: test.key, Wrong: "is wrong", Right: "be right"}
		if got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	if got, want := c.Problem("tls.key", "is wrong", "be right").Error(), "f.yaml:11: tls.key: is wrong; be right"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := (&Config{File: "f"}).Problem("tls.key", "w", "r"); got.Line != 1 {
		t.Errorf("a configuration without lines: %v", got)
	}
}

const (
	wantAddress   = `write host:port or [v6]:port in quotes, such as ":443" or "[::1]:8443", the port from 0 to 65535`
	wantPEM       = "write the path of a PEM file, or credential:NAME"
	wantDirectory = "write the path of a directory, such as /srv/firmware"
	wantTime      = "write a time from 1ms to 24h, such as 500ms, 60s, 5m or 1h30m"
	wantSize      = "write a size of at most 1024GiB: bytes, such as 65536, or a whole number of KiB, MiB or GiB, such as 512KiB"
	wantCache     = "write a size of at most 64GiB, or auto: bytes, such as 65536, or a whole number of KiB, MiB or GiB, such as 512KiB"
	wantBuffer    = "write a size from 256KiB to 1GiB: bytes, such as 65536, or a whole number of KiB, MiB or GiB, such as 512KiB"
	wantTop       = "write one of these: listen, root, tls, crypto, limits, index, log, metrics"
	wantSyntax    = "check the indentation, quotes and brackets of this line and the one above"
	wantListen    = `write a list of entries such as - address: ":443"`
	wantNotPublic = "is not set, so this listener serves the files to all clients, although tls.client_ca is set; write tls: true, or public: true if that is intended, or remove the entry"
	wantApart     = "keep one of them, or write addresses that differ: :PORT is all of IPv4 and IPv6, 0.0.0.0:PORT all of IPv4, [::]:PORT all of IPv6"
	wantRoot      = "write root: and the directory to serve, such as /srv/firmware"
)

// TestParseReportsEveryProblem compares all problems of each file, as LINE: key: wrong; right.
func TestParseReportsEveryProblem(t *testing.T) {
	for _, test := range []struct {
		name, file string
		want       []string
	}{
		{"empty", "", []string{"1: file: is empty; write at least listen and root"}},
		{"comments only", "# a\n# b\n", []string{"1: file: is empty; write at least listen and root"}},
		{"null", "---\n~\n", []string{"1: file: is empty; write at least listen and root"}},
		{"text", "hello\n", []string{`1: file: the text "hello" where keys are expected; write lines such as "root: /srv/firmware"`}},
		{"list", "# a\n- x\n", []string{`2: file: a list where keys are expected; write lines such as "root: /srv/firmware"`}},
		{"nothing set", "index: off\n", []string{
			"1: listen: is missing; " + wantListen,
			"1: root: is missing; " + wantRoot}},
		{"two documents", minimal + "---\nroot: /other\n", []string{
			"4: file: a second YAML document starts here; keep one, and remove the line with ---"}},
		{"not UTF-8", "root: a\nindex: \xff\n", []string{"2: file: a byte here is not UTF-8; save the file as UTF-8 text"}},
		{"UTF-16", "\xff\xfer\x00", []string{"1: file: a byte here is not UTF-8; save the file as UTF-8 text"}},
		{"NUL", "root: a\n\x00\n", []string{"2: file: the control character U+0000; remove it"}},
		{"line separator", "root: a\u2028b\n", []string{"1: file: the control character U+2028; remove it"}},
		{"carriage return", "root: a\rindex: off\n", []string{"1: file: a carriage return without a line feed; end lines with LF or CRLF"}},
		{"byte order mark inside", "\ufeffroot: a\n\ufeff\n", []string{"2: file: a byte order mark inside the text; remove it"}},

		{"tab", minimal + "log:\n\tlevel: info\n", []string{"4: yaml: a tab indents this line; indent with spaces"}},
		{"indented too far", minimal + "\n  index: off\n", []string{
			"4: yaml: invalid YAML syntax here (mapping values are not allowed in this context); " + wantSyntax}},
		{"indented too little", "# a\n# b\n" + minimal + "log:\n    level: info\n  access: true\n", []string{
			"7: yaml: invalid YAML syntax here (did not find expected key); " + wantSyntax}},
		{"open bracket", "# a\nlog: {level: info\nindex: off\n# z\n", []string{
			"2: yaml: invalid YAML syntax here (did not find expected ',' or '}'); " + wantSyntax}},
		{"open quote", "# a\nindex: off\nroot: \"abc\nlog: {}\n# z\n", []string{
			"3: yaml: invalid YAML syntax here (found unexpected end of stream); " + wantSyntax}},
		{"address without quotes", "root: /a\nlisten:\n  - address: [::]:443\n# z\n", []string{
			"3: yaml: invalid YAML syntax here (did not find expected node content); " + wantSyntax}},
		{"unknown anchor", minimal + "index: *x\n", []string{
			"3: yaml: an alias (*) without its anchor; write the value itself; text that starts with * needs quotes"}},
		{"alias", minimal + "index: &i off\nlog: {level: *i}\n", []string{
			"3: index: has an anchor (&); remove it; text that starts with & needs quotes",
			"4: log.level: is an alias (*); write the value itself; text that starts with * needs quotes"}},
		{"alias as key", minimal + "&a index: off\n*a : off\n", []string{
			"3: index: has an anchor (&); remove it; text that starts with & needs quotes",
			"4: yaml: a key that is not a plain word; " + wantTop}},
		{"merge", minimal + "tls:\n  <<: {kernel: off}\n", []string{
			`4: tls."<<": is a merge key; write the keys themselves`}},
		{"tag", minimal + "limits: !x\n  rate: !!int \"0\"\nindex: !!str off\n", []string{
			"3: limits: has a tag (!); remove it; text that starts with ! needs quotes",
			"5: index: has a tag (!); remove it; text that starts with ! needs quotes"}},
		{"tag on all", "!x\nroot: /a\n", []string{
			"1: yaml: has a tag (!); remove it; text that starts with ! needs quotes"}},
		{"key that is a list", minimal + "? [a]\n: b\n", []string{"3: yaml: a key that is not a plain word; " + wantTop}},

		{"near miss", minimal + "tls:\n  certficate: a\n  client-ca: b\n  kernal: off\nLog: {leve: info}\n", []string{
			"4: tls.certficate: unknown key; did you mean certificate?",
			"5: tls.client-ca: unknown key; did you mean client_ca?",
			"6: tls.kernal: unknown key; did you mean kernel?",
			"7: Log: unknown key; did you mean log?"}},
		{"in the wrong place", minimal + "certificate: a\naddress: b\ntls: {idle_timeout: 5s}\n", []string{
			"3: certificate: unknown key; did you mean tls.certificate?",
			"4: address: unknown key; did you mean listen[].address or metrics.address?",
			"5: tls.idle_timeout: unknown key; did you mean limits.idle_timeout?"}},
		{"unknown", minimal + "colour: red\n\"a\\nb\": 1\n? ''\n: 1\nlisten[0]: 1\n" + strings.Repeat("k", 70) + ": 1\n", []string{
			"3: colour: unknown key; " + wantTop,
			`4: "a\nb": unknown key; ` + wantTop,
			`5: "": unknown key; ` + wantTop,
			`7: "listen[0]": unknown key; ` + wantTop,
			`8: "` + strings.Repeat("k", 60) + `"...: unknown key; ` + wantTop}},
		{"given twice", minimal + "log:\n  access: true\n  level: info\n  access: false\nroot: /other\n", []string{
			"6: log.access: is already set in line 4; remove one of them",
			"7: root: is already set in line 2; remove one of them"}},

		{"empty sections", "listen:\nroot:\ntls:\nindex:\nlog: {access: }\nlimits: {connections: , idle_timeout: ~, rate: null}\n", []string{
			"1: listen: is empty; " + wantListen,
			"2: root: is empty; " + wantDirectory,
			"3: tls: is empty; write keys under it: certificate, key, client_ca, kernel, cipher, minimum_version",
			"4: index: is empty; write off or html",
			"5: log.access: is empty; write true or false",
			"6: limits.connections: is empty; write a number from 1 to 1000000",
			"6: limits.idle_timeout: is empty; " + wantTime,
			"6: limits.rate: is empty; " + wantSize}},
		{"sections of another kind", "listen: \":443\"\nroot: [a]\ntls: off\ncrypto: [keep]\nlimits: 5\nmetrics: true\nlog: 2020-01-01\n", []string{
			`1: listen: is the text ":443", not a list of addresses; ` + wantListen,
			"2: root: is a list, not text; " + wantDirectory,
			`3: tls: is the text "off", not keys; write keys under it: certificate, key, client_ca, kernel, cipher, minimum_version`,
			"4: crypto: is a list, not keys; write keys under it: prefer, kernel_fixes",
			"5: limits: is the number 5, not keys; write keys under it: connections, header_timeout, idle_timeout, stall_timeout, buffer, cache, rate",
			"6: metrics: is the boolean true, not keys; write keys under it: address",
			"7: log: is the date 2020-01-01, not keys; write keys under it: level, access"}},

		{"no listener", "listen: []\nroot: /a\n", []string{`1: listen: has 0 entries; write 1 to 64 entries such as - address: ":443"`}},
		{"too many listeners", "root: /a\nlisten:\n" + strings.Repeat("  - address: \":0\"\n", 65), []string{
			`2: listen: has 65 entries; write 1 to 64 entries such as - address: ":443"`}},
		{"listeners", `root: /a
listen:
  - ":443"
  -
  - tls: false
  - {}
  - address: 443
  - address: ""
  - address: ":https"
  - address: ":65536"
  - address: ":-1"
  - address: ":080"
  - address: "::1:443"
  - address: "[::g]:443"
  - address: "[127.0.0.1]:443"
  - address: 256.0.0.1:443
  - address: "a_b:443"
  - address: "0.0.0.0"
  - address: "systemd:"
  - address: "systemd:a:b"
  - address: {a: b}
`, []string{
			`3: listen[0]: is the text ":443", not keys; write keys under it: address, tls, public`,
			"4: listen[1]: is empty; write keys under it: address, tls, public",
			`5: listen[2]: has no address; write address: ":443" in it`,
			`6: listen[3]: has no address; write address: ":443" in it`,
			"7: listen[4].address: is the number 443, not text; " + wantAddress + ", or systemd:NAME",
			`8: listen[5].address: "" is not host:port; ` + wantAddress + ", or systemd:NAME",
			`9: listen[6].address: "https" is not a port number; ` + wantAddress + ", or systemd:NAME",
			`10: listen[7].address: "65536" is not a port number; ` + wantAddress + ", or systemd:NAME",
			`11: listen[8].address: "-1" is not a port number; ` + wantAddress + ", or systemd:NAME",
			`12: listen[9].address: "080" is not a port number; ` + wantAddress + ", or systemd:NAME",
			`13: listen[10].address: "::1:443" is not host:port; ` + wantAddress + ", or systemd:NAME",
			`14: listen[11].address: "::g" is not an IPv6 address; ` + wantAddress + ", or systemd:NAME",
			`15: listen[12].address: "127.0.0.1" is not an IPv6 address; ` + wantAddress + ", or systemd:NAME",
			`16: listen[13].address: "256.0.0.1" is neither an IP address nor a host name; ` + wantAddress + ", or systemd:NAME",
			`17: listen[14].address: "a_b" is neither an IP address nor a host name; ` + wantAddress + ", or systemd:NAME",
			`18: listen[15].address: "0.0.0.0" is not host:port; ` + wantAddress + ", or systemd:NAME",
			`19: listen[16].address: "" is not a valid socket name; write systemd: and the FileDescriptorName= of the socket unit`,
			`20: listen[17].address: "a:b" is not a valid socket name; write systemd: and the FileDescriptorName= of the socket unit`,
			"21: listen[18].address: is a mapping, not text; " + wantAddress + ", or systemd:NAME"}},
		{"same address", `root: /a
metrics: {address: "0.0.0.0:80"}
listen:
  - address: ":443"
  - address: ":443"
  - address: "Board:80"
  - address: "board:80"
  - address: "systemd:x"
  - address: "systemd:x"
  - address: "[::1]:80"
  - address: "[0:0::1]:80"
  - address: "127.0.0.1:80"
  - address: "localhost:81"
  - address: "127.0.0.1:81"
  - address: "[::]:443"
  - address: "[::ffff:1.2.3.4]:82"
  - address: "1.2.3.4:82"
  - address: "[fe80::1%eth0]:83"
  - address: "[fe80::1%eth1]:83"
  - address: "[fe80::1%eth0]:83"
  - address: "[::1%lo]:80"
`, []string{
			"5: listen[1].address: is the same address as listen[0].address in line 4; keep one of them",
			"7: listen[3].address: is the same address as listen[2].address in line 6; keep one of them",
			"9: listen[5].address: is the same address as listen[4].address in line 8; keep one of them",
			`11: listen[7].address: "[0:0::1]:80" overlaps listen[6].address, which is "[::1]:80" in line 10; ` + wantApart,
			`12: listen[8].address: "127.0.0.1:80" overlaps metrics.address, which is "0.0.0.0:80" in line 2; ` + wantApart,
			`14: listen[10].address: "127.0.0.1:81" overlaps listen[9].address, which is "localhost:81" in line 13; ` + wantApart,
			`15: listen[11].address: "[::]:443" overlaps listen[0].address, which is ":443" in line 4; ` + wantApart,
			`17: listen[13].address: "1.2.3.4:82" overlaps listen[12].address, which is "[::ffff:1.2.3.4]:82" in line 16; ` + wantApart,
			"20: listen[16].address: is the same address as listen[14].address in line 18; keep one of them",
			`21: listen[17].address: "[::1%lo]:80" overlaps listen[6].address, which is "[::1]:80" in line 10; ` + wantApart}},
		{"metrics on a listener", "root: /a\nlisten: [{address: \":80\"}]\nmetrics: {address: \"[::1]:80\"}\n", []string{
			`3: metrics.address: "[::1]:80" overlaps listen[0].address, which is ":80" in line 2; ` + wantApart}},
		{"addresses that cannot be bound", "root: /a\nlisten:\n- address: \"[fe80::1]:443\"\n- address: \"[ff02::1]:443\"\n- address: \"224.0.0.1:443\"\n- address: \"[]:443\"\nmetrics: {address: \"[fe80::1]:80\"}\n", []string{
			`3: listen[0].address: "fe80::1" is a link-local address without its network interface; write both, such as "[fe80::1%eth0]:443"`,
			`4: listen[1].address: "ff02::1" is a multicast address; write an address of this machine, or :PORT for all`,
			`5: listen[2].address: "224.0.0.1" is a multicast address; write an address of this machine, or :PORT for all`,
			`6: listen[3].address: "" is not an IPv6 address; ` + wantAddress + ", or systemd:NAME",
			`7: metrics.address: "fe80::1" is a link-local address without its network interface; write both, such as "[fe80::1%eth0]:80"`}},

		{"root", "listen: [{address: \":80\"}]\nroot: credential:x\n", []string{"2: root: a credential is a file, not a directory; " + wantDirectory}},
		{"empty root", "listen: [{address: \":80\"}]\nroot: ''\n", []string{"2: root: is empty; " + wantDirectory}},
		{"NUL in root", "listen: [{address: \":80\"}]\nroot: \"a\\0\"\n", []string{"2: root: has a control character; " + wantDirectory}},

		{"TLS without certificate", "listen:\n- address: \":80\"\n- {address: \":443\", tls: true}\nroot: /a\n", []string{
			"1: tls.certificate: is missing; listen[1] has tls: " + wantPEM,
			"1: tls.key: is missing; listen[1] has tls: " + wantPEM}},
		{"TLS without key", "listen: [{address: \":443\", tls: true}]\nroot: /a\ntls:\n  certificate: \"\"\n", []string{
			"3: tls.key: is missing; listen[0] has tls: " + wantPEM,
			"4: tls.certificate: is empty; listen[0] has tls: " + wantPEM}},
		{"TLS with the wrong types", "listen: [{address: \":443\", tls: true}]\nroot: /a\ntls: {certificate: 5, key: [a]}\n", []string{
			"3: tls.certificate: is the number 5, not text; " + wantPEM,
			"3: tls.key: is a list, not text; " + wantPEM}},
		{"TLS with a section of another kind", "listen: [{address: \":443\", tls: true}]\nroot: /a\ntls: true\n", []string{
			"3: tls: is the boolean true, not keys; write keys under it: certificate, key, client_ca, kernel, cipher, minimum_version"}},
		{"credentials", minimal + "tls:\n  certificate: 'credential:'\n  key: credential:a/b\n  client_ca: credential:..\n", []string{
			`4: tls.certificate: "" is not a valid credential name; write credential: and the ID given to LoadCredential=, such as credential:key.pem`,
			`5: tls.key: "a/b" is not a valid credential name; write credential: and the ID given to LoadCredential=, such as credential:key.pem`,
			`6: tls.client_ca: ".." is not a valid credential name; write credential: and the ID given to LoadCredential=, such as credential:key.pem`}},
		{"choices", minimal + "tls:\n  kernel: no\n  cipher: rc4\n  minimum_version: 1.2\nindex: false\nlog: {level: INFO}\ncrypto: {prefer: \"\"}\n", []string{
			`4: tls.kernel: "no" is not a valid value; did you mean off? Write auto, require or off`,
			`5: tls.cipher: "rc4" is not a valid value; write auto, aes-gcm or chacha20`,
			`6: tls.minimum_version: is the number 1.2, not text; write "1.2" or "1.3"`,
			"7: index: is the boolean false, not text; write off or html",
			`8: log.level: "INFO" is not a valid value; did you mean info? Write debug, info, warn or error`,
			`9: crypto.prefer: "" is not a valid value; write keep, hardware, cpu or auto`}},
		{"booleans", "root: /a\nlisten:\n- {address: \":80\", tls: yes}\n- {address: \":81\", tls: Off}\n- {address: \":82\", tls: 1}\nlog: {access: \"true\"}\n", []string{
			`3: listen[0].tls: is the text "yes", not a boolean; write true, without quotes`,
			`4: listen[1].tls: is the text "Off", not a boolean; write false, without quotes`,
			"5: listen[2].tls: is the number 1, not a boolean; write true or false",
			`6: log.access: is the text "true", not a boolean; write true, without quotes`}},

		{"files for all clients", "root: /a\nlisten:\n- {address: \":443\", tls: true}\n- address: \":80\"\n- address: \":81\"\n  tls: false\n- {address: \":82\", public: true}\n- {address: \"systemd:x\", public: false}\ntls: {certificate: c, key: k, client_ca: a}\nmetrics: {address: \":83\"}\n", []string{
			"4: listen[1].tls: " + wantNotPublic, "6: listen[2].tls: " + wantNotPublic, "8: listen[4].tls: " + wantNotPublic}},
		{"files for all clients, TLS mistyped", "root: /a\nlisten:\n- {address: \":443\", tls: yes}\n- {address: \":80\", public: yes}\ntls: {certificate: c, key: k, client_ca: a}\n", []string{
			`3: listen[0].tls: is the text "yes", not a boolean; write true, without quotes`,
			`4: listen[1].public: is the text "yes", not a boolean; write true, without quotes`}},
		{"TLS for all clients", "root: /a\nlisten:\n- {address: \":443\", tls: true, public: true}\ntls: {certificate: c, key: k, client_ca: a}\n", []string{
			"3: listen[0].public: is for listeners without TLS; remove it: with tls and tls.client_ca, every client must present a certificate"}},

		{"kernel TLS of 1.2", minimal + "tls:\n  minimum_version: \"1.2\"\n  kernel: require\n", []string{
			`4: tls.minimum_version: is 1.2, but tls.kernel: require is for TLS 1.3; write "1.3", or kernel: auto, which serves TLS 1.2 from the kernel where it can`}},
		{"kernel TLS of a mistyped version", minimal + "tls:\n  minimum_version: 1.2\n  kernel: require\n", []string{
			`4: tls.minimum_version: is the number 1.2, not text; write "1.2" or "1.3"`}},

		{"connections", minimal + "limits: {connections: 0}\n", []string{"3: limits.connections: 0 is out of range; write a number from 1 to 1000000"}},
		{"many connections", minimal + "limits: {connections: 1000001}\n", []string{"3: limits.connections: 1000001 is out of range; write a number from 1 to 1000000"}},
		{"connections beyond 64 bits", minimal + "limits: {connections: 99999999999999999999}\n", []string{"3: limits.connections: 99999999999999999999 is out of range; write a number from 1 to 1000000"}},
		{"negative connections", minimal + "limits: {connections: -1}\n", []string{`3: limits.connections: "-1" is not a plain decimal number; write a number from 1 to 1000000, digits only, no leading zero`}},
		{"octal", minimal + "limits: {connections: 0100}\n", []string{`3: limits.connections: "0100" is not a plain decimal number; write a number from 1 to 1000000, digits only, no leading zero`}},
		{"hexadecimal", minimal + "limits: {connections: 0x10}\n", []string{`3: limits.connections: "0x10" is not a plain decimal number; write a number from 1 to 1000000, digits only, no leading zero`}},
		{"underscores", minimal + "limits: {connections: 1_000}\n", []string{`3: limits.connections: "1_000" is not a plain decimal number; write a number from 1 to 1000000, digits only, no leading zero`}},
		{"fraction", minimal + "limits: {connections: 1e3}\n", []string{`3: limits.connections: "1e3" is not a plain decimal number; write a number from 1 to 1000000, digits only, no leading zero`}},
		{"number in quotes", minimal + "limits: {connections: \"512\"}\n", []string{`3: limits.connections: is the text "512", not a number; write 512 without quotes`}},
		{"no number", minimal + "limits: {connections: many}\n", []string{`3: limits.connections: is the text "many", not a number; write a number from 1 to 1000000`}},

		{"times", minimal + "limits:\n  header_timeout: 10\n  idle_timeout: 0\n  stall_timeout: 1.5\n", []string{
			"4: limits.header_timeout: 10 has no unit; write 10s for seconds",
			"5: limits.idle_timeout: 0 has no unit; " + wantTime,
			"6: limits.stall_timeout: 1.5 has no unit; " + wantTime}},
		{"times out of range", minimal + "limits:\n  header_timeout: 0s\n  idle_timeout: -1s\n  stall_timeout: 24h1ns\n", []string{
			"4: limits.header_timeout: 0s is out of range; " + wantTime,
			"5: limits.idle_timeout: -1s is out of range; " + wantTime,
			"6: limits.stall_timeout: 24h1ns is out of range; " + wantTime}},
		{"not times", minimal + "limits:\n  header_timeout: 1d\n  idle_timeout: 1:30\n  stall_timeout: true\n", []string{
			`4: limits.header_timeout: "1d" is not a time; ` + wantTime,
			`5: limits.idle_timeout: "1:30" is not a time; ` + wantTime,
			"6: limits.stall_timeout: is the boolean true, not a time; " + wantTime}},

		{"size unit", minimal + "limits: {rate: 10MB}\n", []string{`3: limits.rate: "10MB" is not a size; ` + wantSize}},
		{"size fraction", minimal + "limits: {rate: 1.5MiB}\n", []string{`3: limits.rate: "1.5MiB" is not a size; ` + wantSize}},
		{"size hexadecimal", minimal + "limits: {rate: 0x10}\n", []string{`3: limits.rate: "0x10" is not a size; ` + wantSize}},
		{"size negative", minimal + "limits: {rate: -1}\n", []string{`3: limits.rate: "-1" is not a size; ` + wantSize}},
		{"size too large", minimal + "limits: {rate: 1025GiB}\n", []string{"3: limits.rate: 1025GiB is out of range; " + wantSize}},
		{"size overflows", minimal + "limits: {rate: 9999999999999999999GiB}\n", []string{"3: limits.rate: 9999999999999999999GiB is out of range; " + wantSize}},
		{"small buffer", minimal + "limits: {buffer: 255KiB}\n", []string{"3: limits.buffer: 255KiB is out of range; " + wantBuffer}},
		{"large buffer", minimal + "limits: {buffer: 1025MiB}\n", []string{"3: limits.buffer: 1025MiB is out of range; " + wantBuffer}},
		{"no buffer", minimal + "limits: {buffer: 0}\n", []string{"3: limits.buffer: 0 is out of range; " + wantBuffer}},
		{"large cache", minimal + "limits: {cache: 65GiB}\n", []string{"3: limits.cache: 65GiB is out of range; " + wantCache}},
		{"cache of a word", minimal + "limits: {cache: on}\n", []string{`3: limits.cache: "on" is not a size; ` + wantCache}},
		{"unit alone", minimal + "limits: {rate: KiB}\n", []string{`3: limits.rate: "KiB" is not a size; ` + wantSize}},

		{"metrics", minimal + "metrics: {address: 9100}\n", []string{"3: metrics.address: is the number 9100, not text; " + wantAddress + `, or "" for none`}},
		{"metrics by systemd", minimal + "metrics: {address: systemd:m}\n", []string{`3: metrics.address: "m" is not a port number; ` + wantAddress + `, or "" for none`}},

		{"fixes are not a list", minimal + "crypto: {kernel_fixes: CVE-2026-31533}\n", []string{`3: crypto.kernel_fixes: is the text "CVE-2026-31533", not a list of CVEs; write [] or a list such as [CVE-2026-31533]`}},
		{"unknown fixes", minimal + "crypto:\n  kernel_fixes:\n  - CVE-2026-31534\n  - [x]\n  - 7\n", []string{
			`5: crypto.kernel_fixes[0]: "CVE-2026-31534" is not a valid value; write CVE-2024-26584 or CVE-2026-31533`,
			"6: crypto.kernel_fixes[1]: is a list, not text; write CVE-2024-26584 or CVE-2026-31533",
			"7: crypto.kernel_fixes[2]: is the number 7, not text; write CVE-2024-26584 or CVE-2026-31533"}},

		{"not implemented yet", minimal + "crypto: {prefer: keep}\ntls: {cipher: chacha20}\nlimits: {rate: 512KiB}\n", []string{
			"5: limits.rate: is not implemented yet; write 0, which is unlimited"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Parse([]byte(test.file), "f.yaml")
			var problems Problems
			if !errors.As(err, &problems) || got != nil {
				t.Fatalf("got %+v and error %v, want problems", got, err)
			}
			gotLines := strings.Split(err.Error(), "\n")
			for i := range max(len(gotLines), len(test.want)) {
				g, w := "nothing", "nothing"
				if i < len(gotLines) {
					g = gotLines[i]
				}
				if i < len(test.want) {
					w = "f.yaml:" + test.want[i]
				}
				if g != w {
					t.Errorf("problem %d\ngot  %s\nwant %s", i, g, w)
				}
			}
		})
	}
}
