//go:build mutants

package wrong

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A catch is a test that fails against a mutant, and a regular expression that its failure
// matches: a failure for another reason proves nothing.
type catch struct{ test, reason string }

type caughtMutant struct {
	variant Variant
	pkg     string
	catches []catch
}

// caught is every mutant that a test of a package catches, with the package. Tests on boards
// catch the others.
var caught = []caughtMutant{
	{NoDrain, "./service/server", []catch{{"TestSimulation", `did not end in order|clean end after|whole, and wrong`}}},
	{OnlyPOLLOUT, "./service/server", []catch{{"TestSimulation", `the kernel holds`}}},
	{NoLinger, "./service/server", []catch{{"TestSimulation", `did not end in order`}, {"TestUnreadInputLosesNoData", `do not end with the file's`}}},
	{NoSeal, "./service/server", []catch{{"TestSimulation", `whole, and wrong`}, {"TestChangedFileIsNoSuccess", `which are not the file`}, {"TestChangeAtAnyMoment", `seal_test.go`}}},
	{Unsealed, "./service/server", []catch{{"TestChangedFileIsNoSuccess", `which are not the file`}}},
	{NoSettle, "./service/files", []catch{{"TestTagNeverNamesTwoContents", `the tag "[^"]+" names`}, {"TestChangeInTheOpeningTickIsDetected", `no change is reported`}}},
	{WrongMeter, "./service/server", []catch{{"TestSimulation", `the kernel holds|did not end in order`}}},
	{ShortSplice, "./service/server", []catch{{"TestSimulation", `clean end after|the kernel holds|whole, and wrong`}}},
	{DirtyPipe, "./service/server", []catch{{"TestSimulation", `a pipe is filled that is not empty`}}},
	{EarlyBuffer, "./service/server", []catch{{"TestSimulation", `two operations in flight`}}},
	{DoubleClose, "./service/server", []catch{{"TestSimulation", `is closed twice`}}},
	{NoAckWait, "./service/server", []catch{{"TestSimulation", `whole, and wrong`}}},
	{RacyBase, "./ktls", []catch{{"TestMeterBase", `want 100 pending`}}},
	{LateAck, "./ktls", []catch{{"TestMeterLateAckIsNotPending", `want 70 pending`}}},
	{Unbounded, "./service/server", []catch{{"TestSimulation", `the kernel holds`}}},
	{NoShare, "./service/server", []catch{{"TestShareOfMemory", `a share of`}}},
	{Untested, "./platform", []catch{{"TestQuarantine", `cipher 0: `}}},
	{PushedOnce, "./service/server", []catch{{"TestPushRepeatsWhileEngineHoldsRecords", `pushed again after`}}},
	{NoLook, "./service/server", []catch{{"TestShareReachesTCP", `TCP_NOTSENT_LOWAT`}}},
	{FreePipe, "./service/server", []catch{{"TestSimulation", `the kernel holds`}}},
	{NoTurns, "./service/server", []catch{{"TestSimulation", `files are read into pipes at a time`}}},
	{EngineOnLoop, "./service/server", []catch{{"TestSimulation", `may wait for the engine, on the loop's thread`}}},
	{QueueStalls, "./service/server", []catch{{"TestQueuedKeyInstallationIsNoStall", `the engine is tested at once`}}},
	{MarkTrusted, "./platform/cryptoapi", []catch{{"TestInline", `inline true`}, {"TestInlineBoards", `may wait: true, want false`}}},
	{EngineUnbounded, "./service/server", []catch{{"TestSimulation", `of them in the engine`}}},
	{EngineTrusted, "./service/server", []catch{{"TestSimulation", `no end: .* dead:true`}}},
	{Unwatched, "./service/server", []catch{{"TestSimulation", `may wait for the engine, on the loop's thread|has not passed a test`}, {"TestNewDriver", `used, or 0 tests`}}},
	{LookedOnce, "./service/server", []catch{{"TestSimulation", `has not passed a test|may wait for the engine`}, {"TestDriverRegisteredDuringOffload", `operation 0, kernel TLS`}}},
	{EngineBlind, "./service/server", []catch{{"TestEngineOutputProvesLife", `although it has just completed a record`}}},
	{EngineHurried, "./service/server", []catch{{"TestSlowPushIsNoStall", `after a push that took long`}}},
	{StillOffloads, "./service/server", []catch{{"TestSimulation", `no end: .* dead:true|that was given up`}}},
	{ClosesDead, "./service/server", []catch{{"TestSimulation", `the engine has records of it`}, {"TestEngineRecovers", `are lost`}}},
	{ClosesInRing, "./service/server", []catch{{"TestSimulation", `the engine has records of it`}}},
	{Deaf, "./service/server", []catch{{"TestBadRecordMACIsLogged", `want one line`}}},
	{NoLateLook, "./service/server", []catch{{"TestRequestReceivedInTimeIsServed", `FIN true`}}},
	{NotAsked, "./service/server", []catch{{"TestSocketErrorEndsPoll", `the socket's error`}}},
	{StopsAtOnce, "./service/server", []catch{{"TestShutdownCompletesTransfers", `bytes of 16777216`}}},
	{SecondIgnored, ".", []catch{{"TestSecondSIGTERMResetsTransfers", `after the second SIGTERM`}}},
	{NoReset, ".", []catch{{"TestKilledServiceResetsTransfers", `want a reset`}}},
	{FullIsEmpty, "./uring", []catch{{"TestOverflow", `did not arrive`}}},
	{ReadsOnLoop, "./service/server", []catch{{"TestSimulation", `on the loop's thread`}}},
	{FreesOnLoop, "./service/server", []catch{{"TestSimulation", `on the loop's thread`}}},
	{OnePool, "./service/server", []catch{{"TestSimulation", `where nothing may`}, {"TestHungStorageDelaysNobodyElse", `beside a disk that hangs`}}},
	{ColdHandlers, "./service/server", []catch{{"TestSimulation", `may wait for the disk runs where nothing may`}, {"TestHungStorageDelaysNobodyElse", `beside a disk that hangs`}}},
	{NeverWithdrawn, "./service/server", []catch{{"TestSimulation", `a job has not begun for`}, {"TestQueuedJobTimesOut", `timeout`}}},
	{WithdrawnTwice, "./service/server", []catch{{"TestSimulation", `beside a job|has a connection in state closed`}}},
	{EndsShort, "./service/server", []catch{{"TestSimulation", `are left`}}},
	{SharedWorkers, "./service/server", []catch{{"TestHandshakesDelayNobodyElse", `beside 40 handshakes`}}},
	{WrongIV, "./ktls", []catch{{"TestDeriveKeys", `want [0-9a-f]+ [0-9a-f]+`}, {"TestOffloadKeys", `bad record MAC`}}},
	{OneTicket, "./ktls", []catch{{"TestCountRecordsTickets", `2 tickets: 1 records`}}},
	{FixedNonce, "./ktls", []catch{{"TestOffloadKeys", `bad record MAC`}}},
	{PartsIgnored, "./platform/cryptoapi", []catch{{"TestMarkHardware", `hardware false, want true`}}},
	{PriorityKept, "./offload/priority", []catch{{"TestRaiseIsRevertedAtTheEnd", `Priority:3001`}}},
	{MarkPrefers, "./offload", []catch{{"TestChoose", `gcm_base\(ctr-aes-neonbs`}}},
	{EndlessKeys, "./service/server", []catch{{"TestKeyLimitEndsConnection", `kernel TLS, after .*: closes false, want true`}}},
	{FixesIgnored, "./platform", []catch{{"TestKernelFixes", `\[CVE-`}}},
	{UserKeysEndless, "./service/server", []catch{{"TestKeyLimitEndsConnection", `user-space TLS, after .*: closes false, want true`}}},
	{IdleUnwatched, "./service/server", []catch{{"TestIdleConnectionObeysStallTimeout", `stalled: ended after 1h`}}},
	{TCPTimeout, "./service/server", []catch{{"TestTCPEndsNoSlowConnection", `TCP_USER_TIMEOUT is 5000 ms`}}},
	{SeldomLooks, "./service/server", []catch{{"TestStallTimeoutIsAccurate", `after the last acknowledgement`}}},
	{StaleContent, "./service/files", []catch{{"TestCacheSeesEachChange", `the old answer`}}},
	{ComparedOnce, "./service/files", []catch{{"TestCacheSeesEachChange", `the old answer`}}},
	{StaleNames, "./service/files", []catch{{"TestCacheSeesEachChange", `the old answer`}}},
	{StaleDirectories, "./service/files", []catch{{"TestCacheSeesEachChange", `the old answer`}}},
	{FirstNameOnly, "./service/files", []catch{{"TestNamesAreWatched", `1 entries after the change`}}},
	{LateWatch, "./service/files", []catch{{"TestWatchPrecedesLookup", `the cache answers`}}},
	{ForgetsChanges, "./service/files", []catch{{"TestChangeDuringPreparationIsSeen", `the cache answers`}}},
	{OverflowIgnored, "./service/files", []catch{{"TestLostEventsDropAll", `entries after an overflow`}}},
	{EndlessEvents, "./service/files", []catch{{"TestFloodDropsAll", `although events are not read yet`}}},
	{OldMemory, "./service/files", []catch{{"TestMemoryExpires", `answered from memory after`}}},
	{CopiesKept, "./service/files", []catch{{"TestUnchangedBodyIsShared", `another copy`}}},
	{OldBytes, "./service/files", []catch{{"TestExpiredBodyChanges", `after the life of the body`}}},
	{FirstOnly, "./service/files", []catch{{"TestDirectoryDropsAllBelow", `a removed link is answered`}}},
	{AdmitsAll, "./service/files", []catch{{"TestSingleRequestsDisplaceNothing", `is no longer answered`}}},
	{LeasesUnbounded, "./service/files", []catch{{"TestLeasedBodiesAreBounded", `another body in memory`}}},
	{LeaseKept, "./service/server", []catch{{"TestSimulation", `[1-9][0-9]* leases of answers`}}},
	{ClosedByCache, "./service/files", []catch{{"TestDroppedFilesAreNotClosed", `0 files`}}},
	{StaleTurn, "./service/server", []catch{{"TestSimulation", `does not know the last changes`}}},
	{LateStale, "./service/server", []catch{{"TestLateRequestSeesChanges", `after 0 updates`}}},
	{RecordsReused, "./service/server", []catch{{"TestSimulation", `a buffer is (used by two operations|changed while it is sent)`}}},
	{PlaintextReused, "./service/server", []catch{{"TestSimulation", `client [0-9]+: `}}},
	{NothingReused, "./service/server", []catch{{"TestBuffersAreReused", `were allocated for a download`}}},
	{ProbeStays, "./platform", []catch{{"TestRingThreadEnds", `rings made on the main thread`}}},
}

// TestCaught runs tests of the product's own packages against the mutants. They must fail, for
// their reasons.
func TestCaught(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range caught {
		t.Run(tc.variant.Name, func(t *testing.T) {
			t.Parallel()
			overlay, err := tc.variant.Overlay(root, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, c := range tc.catches {
				names = append(names, c.test)
			}
			args := []string{"test", "-vet=off", "-count=1", "-timeout", "400s", "-run", "^(" + strings.Join(names, "|") + ")$", tc.pkg}
			if slices.Contains(names, "TestSimulation") {
				args = append(args, "-sim.shrink", "0s", "-sim.seeds", "20000")
			}
			cmd := exec.Command("go", args...)
			cmd.Dir = root
			cmd.Env = append(os.Environ(), "GOFLAGS=-overlay="+overlay) // for what the test builds, too
			out, err := cmd.CombinedOutput()
			for _, c := range tc.catches {
				failure := failureOf(string(out), c.test)
				switch {
				case err == nil || failure == "":
					t.Errorf("%s does not catch it: %v\n%s", c.test, err, out)
				case !regexp.MustCompile(c.reason).MatchString(failure):
					t.Errorf("%s fails for another reason than %q:\n%s", c.test, c.reason, failure)
				default:
					t.Logf("%s: %s", c.test, failure[:min(len(failure), 1000)])
				}
			}
		})
	}
}

// TestVariantsBuild: the mutants that TestCaught does not build compile.
func TestVariantsBuild(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range Variants() {
		if slices.ContainsFunc(caught, func(c caughtMutant) bool { return c.variant.Name == v.Name }) {
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			overlay, err := v.Overlay(root, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("go", "build", "-overlay", overlay, "./...") // no linking: nothing is run
			cmd.Dir = root
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// failureOf returns the output of go test about a test that failed, or "".
func failureOf(output, test string) string {
	_, failure, found := strings.Cut(output, "--- FAIL: "+test+" ")
	if !found {
		return ""
	}
	failure, _, _ = strings.Cut(failure, "\n--- ")
	return failure
}
