package wrong

// ReadsOnLoop reads files on the loop's thread. Even with RWF_NOWAIT, the kernel waits for the
// file's extents.
var ReadsOnLoop = Variant{"reads on the loop", []Edit{{
	File: "service/server/loop.go",
	Old:  "l.submitJob(s, op, l.workers)",
	New:  "op.job()\n\t\tl.perform(s, s.conn.step(event{now: l.now}))",
}}}

// OnePool runs all jobs on the same workers, including jobs that wait for a disk.
var OnePool = Variant{"one pool for all", []Edit{{
	File: "service/server/loop.go",
	Old:  "l.submitJob(s, op, l.disk)",
	New:  "l.submitJob(s, op, l.workers)",
}}}

// ColdHandlers runs handlers without checking whether they may wait for a disk.
var ColdHandlers = Variant{"handlers are not checked", []Edit{{
	File: "service/http1/response.go",
	Old:  "return r == nil || r.options.MayBlock",
	New:  "return r == nil || true",
}}}

// FreesOnLoop closes files on the loop's thread.
var FreesOnLoop = Variant{"files are closed on the loop", []Edit{{
	File: "service/server/storage.go",
	Old:  "case l.storage.over:",
	New:  "case l.storage.over || true:",
}}}

// NeverWithdrawn leaves a job in the queue as long as a disk blocks all workers.
var NeverWithdrawn = Variant{"jobs are not withdrawn", []Edit{{
	File: "service/server/storage.go",
	Old:  "case p.Withdraw(s.token):",
	New:  "case false:",
}}}

// WithdrawnTwice ends a connection's wait for a job that a worker is running.
var WithdrawnTwice = Variant{"jobs that run are withdrawn", []Edit{{
	File: "service/server/storage.go",
	Old:  "if p := s.pool; s.owner == ownerWorker && !p.Runs(s.token) {",
	New:  "if p := s.pool; s.owner == ownerWorker {",
}, {
	File: "service/server/storage.go",
	Old:  "case p.Withdraw(s.token):",
	New:  "case p.Withdraw(s.token) || true:",
}}}

// EndsShort ends a connection with FIN when its file cannot be read.
var EndsShort = Variant{"FIN when a read fails", []Edit{{
	File: "service/server/read.go",
	Old:  "case err != nil:\n\t\treturn c.reset(causeFile, err.Error())",
	New:  "case err != nil:\n\t\treturn c.shutdown(ev.now)",
}, {
	File: "service/server/fill.go",
	Old:  "case ev.err != 0:\n\t\treturn c.reset(causeFile, fmt.Sprintf(\"reading %s: %v\", p.file.Name(), ev.err))",
	New:  "case ev.err != 0:\n\t\treturn c.shutdown(ev.now)",
}}}

// RecordsReused reuses the buffer of TLS records before the socket has accepted them.
var RecordsReused = Variant{"records are overwritten before they are sent", []Edit{{
	File: "service/server/buffers.go",
	Old:  "\tt.records = c.session.Output()\n",
	New:  "\tt.records = c.session.Output()\n\tc.proc.buffers.putRecords(t.records)\n",
}}}

// PlaintextReused reuses the buffer of plaintext before it is encrypted.
var PlaintextReused = Variant{"plaintext is overwritten before it is encrypted", []Edit{{
	File: "service/server/buffers.go",
	Old:  "\t\tt.room = c.proc.buffers.getPlain()\n",
	New:  "\t\tt.room = c.proc.buffers.getPlain()\n\t\tc.proc.buffers.putPlain(t.room)\n",
}}}

// NothingReused gives each chunk of a file new buffers.
var NothingReused = Variant{"each chunk has new buffers", []Edit{
	{
		File: "service/server/buffers.go",
		Old:  "b.records.Put((*[recordsSize]byte)(p[:recordsSize]))",
		New:  "_ = p",
	},
	{
		File: "service/server/buffers.go",
		Old:  "{ b.plain.Put(p) }",
		New:  "{ _ = p }",
	},
}}
