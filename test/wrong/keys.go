package wrong

// WrongIV derives the initialization vector by another label.
var WrongIV = Variant{"another label derives the IV", []Edit{{
	File: "ktls/keys.go",
	Old:  `expandLabel(s.hash, secret, "iv", len(k.iv))`,
	New:  `expandLabel(s.hash, secret, "key", len(k.iv))`,
}}}

// OneTicket counts one record for session tickets, however many there are.
var OneTicket = Variant{"one ticket is counted", []Edit{{
	File: "ktls/keys.go",
	Old:  "seq++ // after the first",
	New:  "// seq++ after the first",
}}}

// FixedNonce opens each record with the nonce of the first.
var FixedNonce = Variant{"the nonce does not count", []Edit{{
	File: "ktls/keys.go",
	Old:  "nonce[4+i] ^= b",
	New:  "nonce[4+i] ^= 0 & b",
}}}

// PartsIgnored does not look up the components of a template driver.
var PartsIgnored = Variant{"parts of a template are not hardware", []Edit{{
	File: "platform/cryptoapi/netlink_linux.go",
	Old:  "a.Hardware = a.Hardware || hardware[part]",
	New:  "_ = hardware[part]",
}}}

// PriorityKept does not restore the priority of a driver that the service has changed.
var PriorityKept = Variant{"a priority is kept", []Edit{{
	File: "offload/priority/priority_linux.go",
	Old:  "l.kernel.setPriority(c.Driver, c.Before)",
	New:  "l.kernel.setPriority(c.Driver, c.After)",
}}}

// MarkPrefers prefers AES-GCM for any driver that the kernel marks asynchronous.
var MarkPrefers = Variant{"the kernel's mark decides the cipher", []Edit{{
	File: "offload/choose.go",
	Old:  "case gcm && found && engine.Engine():",
	New:  "case gcm && found && engine.Async:",
}}}

// EndlessKeys never ends a connection because of the number of its records.
var EndlessKeys = Variant{"keys are used without a limit", []Edit{{
	File: "service/flow/control.go",
	Old:  "c.records += int64((n + MaxRecord - 1) / MaxRecord)",
	New:  "c.records += int64(0 * n)",
}}}

// FixesIgnored ignores the configured kernel fixes, and assumes every known defect of the kernel.
var FixesIgnored = Variant{"kernel_fixes is ignored", []Edit{{
	File: "platform/defects.go",
	Old:  `return d.cve != "" && slices.Contains(f, d.cve)`,
	New:  `return d.cve != "" && slices.Contains(f[:0], d.cve)`,
}}}

// ProbeStays probes rings on any thread, including the main thread, which never ends.
var ProbeStays = Variant{"the thread of a probe stays", []Edit{{
	File: "platform/uring_linux.go",
	Old:  "if unix.Gettid() != unix.Getpid() {",
	New:  "if unix.Gettid() != 0 {",
}}}

// TCPTimeout lets TCP end connections by its own timeout.
var TCPTimeout = Variant{"TCP ends slow connections", []Edit{{
	File: "service/server/socket_linux.go",
	Old:  "m, err := ktls.NewMeter(ktls.FD(fd))",
	New:  "unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 5_000)\n\tm, err := ktls.NewMeter(ktls.FD(fd))",
}}}

// SeldomLooks reads the meter of a waiting connection once per stall_timeout.
var SeldomLooks = Variant{"progress is read too seldom", []Edit{{
	File: "service/server/transfer.go",
	Old:  "now.Add(min(progressInterval, c.gen.stallTimeout))",
	New:  "now.Add(max(progressInterval, c.gen.stallTimeout))",
}}}

// UserKeysEndless does not count the records that are made in user space.
var UserKeysEndless = Variant{"records made in user space are not counted", []Edit{{
	File: "service/server/buffers.go",
	Old:  "c.flow.CountRecords(len(plain))",
	New:  "",
}}}

// IdleUnwatched does not look whether a kept connection's last response arrives.
var IdleUnwatched = Variant{"a kept connection has no stall_timeout", []Edit{{
	File: "service/server/exchange.go",
	Old:  "c.wait.undelivered = true",
	New:  "",
}}}
