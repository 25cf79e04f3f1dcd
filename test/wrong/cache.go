package wrong

// StaleContent does not compare the attributes of a file with those of its prepared answer.
var StaleContent = Variant{"prepared answers are not compared with the file", []Edit{{
	File: "service/files/cache.go",
	Old:  "if !ok || is != e.file.stat {",
	New:  "if !ok || is.inode != e.file.stat.inode {",
}}}

// ComparedOnce compares them once, and not again in later turns of the loop.
var ComparedOnce = Variant{"prepared answers are compared once", []Edit{{
	File: "service/files/cache.go",
	Old:  "if e.round == c.round {",
	New:  "if e.round != 0 {",
}}}

// StaleNames does not drop the answers that depend on a changed name.
var StaleNames = Variant{"changed names are ignored", []Edit{{
	File: "service/files/entries.go",
	Old:  "for first := w.names[string(name)]; first != nil; first = w.names[string(name)] {",
	New:  "for first := w.names[string(name)]; first != nil && len(name) == 0; {",
}}}

// StaleDirectories does not drop the answers below a directory that has itself changed.
var StaleDirectories = Variant{"changed directories are ignored", []Edit{{
	File: "service/files/entries.go",
	Old:  "for name, first := range w.names {",
	New:  "for name, first := range map[string]*dependent(nil) {",
}}}

// FirstNameOnly depends on the first name of a path only.
var FirstNameOnly = Variant{"one name of a path is watched", []Edit{{
	File: "service/files/prepare.go",
	Old:  "if d := (dependency{wd, name}); !slices.Contains(p.deps, d) {",
	New:  "if d := (dependency{wd, name}); len(p.deps) == 0 {",
}}}

// LateWatch looks up a name before its directory is watched.
var LateWatch = Variant{"directories are watched after the lookup", []Edit{
	{
		File: "service/files/prepare.go",
		Old:  "\twd, err := c.names.watch(directory)\n",
		New:  "\tearly, failed := c.names.look(directory, name)\n\twd, err := c.names.watch(directory)\n",
	},
	{
		File: "service/files/prepare.go",
		Old:  "if fd, err = c.names.look(directory, name); err != nil {",
		New:  "if fd, err = early, failed; err != nil {",
	},
}}

// ForgetsChanges does not remember changes while an answer is prepared.
var ForgetsChanges = Variant{"changes during a preparation are forgotten", []Edit{{
	File: "service/files/entries.go",
	Old:  "c.seen = append(c.seen, dependency{wd, string(name)})",
	New:  "c.seen = append(c.seen, dependency{})",
}}}

// OverflowIgnored keeps the answers when the kernel has dropped events.
var OverflowIgnored = Variant{"lost events are ignored", []Edit{{
	File: "service/files/update.go",
	Old:  "if e.mask&unix.IN_Q_OVERFLOW != 0 {",
	New:  "if false {",
}}}

// EndlessEvents reads events for as long as there are any.
var EndlessEvents = Variant{"an update reads all events", []Edit{{
	File: "service/files/update.go",
	Old:  "for range maxReads {",
	New:  "for {",
}}}

// OldMemory keeps the bytes of files in memory without a limit of time.
var OldMemory = Variant{"files stay in memory", []Edit{{
	File: "service/files/cache.go",
	Old:  "return e.life > 0 && now.Sub(e.born) >= e.life }",
	New:  "return false }",
}}}

// ClosedByCache closes the file of a dropped answer at once, where it may wait for storage.
var ClosedByCache = Variant{"the cache closes files", []Edit{{
	File: "service/files/entries.go",
	Old:  "\n\tc.dropped = append(c.dropped, e.file)\n\tif",
	New:  "\n\te.file.Release()\n\tif",
}}}

// StaleTurn applies the changes of files once, and not in each turn of the loop.
var StaleTurn = Variant{"changes are applied once", []Edit{{
	File: "service/server/loop.go",
	Old:  "\t\tl.shared.answers.updated = false\n",
	New:  "",
}}}

// LateStale answers a request that was received during a turn without the changes from before it.
var LateStale = Variant{"requests received during a turn are answered as before it", []Edit{{
	File: "service/server/exchange.go",
	Old:  "\t\tc.loop.answers.updated = false // received after this wait of the loop\n",
	New:  "",
}}}

// CopiesKept keeps another copy of a file that has not changed.
var CopiesKept = Variant{"each life of a body has its own memory", []Edit{{
	File: "service/files/prepare.go",
	Old:  "if old != nil && bytes.Equal(old.bytes, e.body.bytes) {",
	New:  "if old != nil && bytes.Equal(old.bytes, nil) {",
}}}

// OldBytes keeps the bytes of an expired body, whatever the file has.
var OldBytes = Variant{"an expired body is not compared", []Edit{{
	File: "service/files/prepare.go",
	Old:  "if old != nil && bytes.Equal(old.bytes, e.body.bytes) {",
	New:  "if old != nil && !bytes.Equal(old.bytes, nil) {",
}}}

// FirstOnly drops only one of the entries that depend on a changed name.
var FirstOnly = Variant{"one answer of a changed directory is dropped", []Edit{{
	File: "service/files/entries.go",
	Old:  "first != nil; first = w.names[string(name)] {",
	New:  "first != nil; first = nil {",
}}}

// AdmitsAll prepares the answer to each request, also when there is no room.
var AdmitsAll = Variant{"files that are requested once displace others", []Edit{{
	File: "service/files/entries.go",
	Old:  "return !c.crowded || c.asked.again(p)",
	New:  "return c.asked.again(p) || true",
}}}

// LeasesUnbounded keeps files in memory, however much slow clients hold.
var LeasesUnbounded = Variant{"slow clients hold any amount of memory", []Edit{{
	File: "service/files/entries.go",
	Old:  "if e.body != nil && c.unowned > c.limits.Bytes/2 {",
	New:  "if false {",
}}}

// LeaseKept does not end the lease of an answer.
var LeaseKept = Variant{"leases of answers are kept", []Edit{{
	File: "service/server/cached.go",
	Old:  "\t\tx.answer.Lease.Release()\n",
	New:  "",
}}}
