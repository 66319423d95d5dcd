package live

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"cartstream/api/cart"
	"cartstream/schemas"
)

var unavailable = cart.Unavailable{Err: fmt.Errorf("away")}

func TestASlowClientsBacklogBecomesOneSnapshot(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		slowly, other := w.connect("u1", ""), w.connect("u1", "")
		other.follow()
		for i := range 1000 {
			w.change("u1", fmt.Sprint("b", i%7), int64(i%5))
			synctest.Wait()
		}
		other.has(w, "u1") // is not held up
		if len(other.Frames) != 1001 {
			t.Errorf("the other device got %d frames", len(other.Frames))
		}
		reads := w.reads
		slowly.follow()
		synctest.Wait()
		slowly.has(w, "u1")
		if n := len(slowly.Frames); n > 4 || slowly.Frames[n-1] != "snapshot" || w.reads != reads+1 {
			t.Errorf("the slow device got %v, with %d reads", slowly.Frames, w.reads-reads)
		}
	})
}

func TestAClientThatTakesNothingIsCutOff(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		d := w.connect("u1", "")
		w.change("u1", "emma", 1)
		time.Sleep(writeWithin - time.Millisecond)
		synctest.Wait()
		if n := w.metric(w.gateway.metrics.open); n != 1 {
			t.Fatal("cut off too early")
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if n := w.metric(w.gateway.metrics.closes.WithLabelValues("slow")); n != 1 {
			t.Errorf("%v closed for being slow", n)
		}
		_ = d
	})
}

func TestAClientThatDoesNotAnswerPingsIsCutOff(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		w.mute = true
		w.connect("u1", "").follow()
		time.Sleep(visitEvery + pongWithin + time.Millisecond)
		synctest.Wait()
		if n := w.metric(w.gateway.metrics.closes.WithLabelValues("dead")); n != 1 {
			t.Errorf("%v closed for being dead", n)
		}
	})
}

func TestTheLargestCartPasses(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		title := strings.Repeat("\U0001F4DA", 500)
		w.set("u1", "b", 1)
		v := &w.carts["u1"].view
		v.Items = nil
		for i := range 500 {
			v.Items = append(v.Items, schemas.Line{BookID: fmt.Sprint("b", i), Title: title, UnitPrice: 1, Quantity: 1, LineTotal: 1, Availability: schemas.Available})
		}
		v.Totals = schemas.Sum(v.Items)
		d := w.connect("u1", "")
		d.has(w, "u1")
		w.change("u1", "b3", 2)
		d.next()
		d.has(w, "u1")
		w.set("u1", "b3", 3)
		w.change("u1", "b3", 4)
		d.next()
		d.has(w, "u1")
		d.frames(t, "snapshot", "change", "snapshot")
	})
}

func TestAClientThatTakesALargeCartSlowlyIsNotCutOff(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		w.set("u1", "b", 1)
		v := &w.carts["u1"].view
		v.Items[0].Title = strings.Repeat("x", 1<<20)
		d, _ := w.dial("u1", "", nil)
		if d == nil {
			t.Fatal("not let in")
		}
		_, r, err := d.conn.Reader(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		for piece := make([]byte, 48<<10); ; time.Sleep(time.Second) {
			n, err := r.Read(piece)
			got.Write(piece[:n])
			if err != nil {
				break
			}
		}
		if err := d.apply(got.Bytes()); err != nil {
			t.Error(err)
		}
	})
}

func TestATokenThatExpiresEndsTheSocket(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		short, long := w.connect("u1~1m", ""), w.connect("u1", "")
		ended, goesOn := short.follow(), long.follow()
		time.Sleep(time.Minute - time.Millisecond)
		synctest.Wait()
		select {
		case code := <-ended:
			t.Fatalf("closed with %d before the token expired", code)
		default:
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		select {
		case code := <-ended:
			if code != 4401 {
				t.Errorf("closed with %d", code)
			}
		default:
			t.Error("still open")
		}
		time.Sleep(time.Hour)
		select {
		case code := <-goesOn:
			t.Errorf("the other device's socket closed with %d", code)
		default:
		}
	})
}

func TestAStuckClientsExpiryEndsItsSocketToo(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		w.connect("u1~2s", "")
		w.change("u1", "emma", 1) // is never taken
		time.Sleep(2*time.Second + 5*time.Second + time.Millisecond)
		synctest.Wait()
		if n := w.metric(w.gateway.metrics.closes.WithLabelValues("expired")); n != 1 {
			t.Errorf("%v closed for the token", n)
		}
	})
}

func TestAClientThatSendsDataIsSentAway(t *testing.T) {
	for claim, c := range map[string]struct {
		kind websocket.MessageType
		size int
		code websocket.StatusCode
	}{
		"with a word":                {websocket.MessageText, 2, websocket.StatusPolicyViolation},
		"with nothing":               {websocket.MessageText, 0, websocket.StatusPolicyViolation},
		"with bytes":                 {websocket.MessageBinary, 100, websocket.StatusPolicyViolation},
		"with 4 KiB":                 {websocket.MessageText, 4 << 10, websocket.StatusPolicyViolation},
		"with a byte more than that": {websocket.MessageText, 4<<10 + 1, websocket.StatusMessageTooBig},
		"with very much":             {websocket.MessageBinary, 1 << 20, websocket.StatusMessageTooBig},
	} {
		t.Run(claim, func(t *testing.T) {
			play(t, func(t *testing.T, w *world) {
				d := w.connect("u1", "")
				ended := d.follow()
				go func() { _ = d.conn.Write(t.Context(), c.kind, make([]byte, c.size)) }()
				if code := <-ended; code != c.code {
					t.Errorf("closed with %d, want %d", code, c.code)
				}
			})
		})
	}
}

func TestAClientThatNeverEndsItsMessageIsSentAway(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		d := w.connect("u1", "")
		ended := d.follow()
		if _, err := d.pipe.Write([]byte{0x81, 0xfe, 0x10, 0, 1, 2, 3, 4, 'h'}); err != nil { // 4,096 bytes announced
			t.Fatal(err)
		}
		began := time.Now()
		<-ended
		if took := time.Since(began); took > 2*closeWithin {
			t.Errorf("took %v", took)
		}
		synctest.Wait()
		if n := w.metric(w.gateway.metrics.closes.WithLabelValues("policy")); n != 1 {
			t.Errorf("%v closed for what they sent", n)
		}
	})
}

func TestDrainingSendsEveryClientAwayInGoodTime(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		const clients = 40
		ends := make(chan time.Duration, clients)
		var began time.Time
		for i := range clients {
			ended := w.connect(fmt.Sprint("u", i/2), "").follow()
			go func() {
				if code := <-ended; code != websocket.StatusGoingAway {
					t.Errorf("closed with %d", code)
				}
				ends <- time.Since(began)
			}()
		}
		began = time.Now()
		w.stop()
		<-w.drained
		first, last := time.Hour, time.Duration(0)
		for range clients {
			took := <-ends
			first, last = min(first, took), max(last, took)
		}
		if last > w.gateway.Drain || last-first < w.gateway.Drain/10 {
			t.Errorf("closed between %v and %v after the drain began", first, last)
		}
	})
}

func TestDrainingCutsOffClientsThatDoNotAnswer(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		w.connect("u1", "")
		w.connect("u2", "")
		w.change("u2", "emma", 1) // is never taken
		w.gateway.Drain = time.Second
		began := time.Now()
		w.stop()
		<-w.drained
		if took := time.Since(began); took > w.gateway.Drain+time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

func TestDrainingReachesASocketThatOpensWhenItIsOver(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		hold := make(chan struct{})
		w.with(func() { w.hold = hold })
		time.AfterFunc(time.Second, w.stop)
		time.AfterFunc(time.Second+w.gateway.Drain+time.Millisecond, func() { close(hold) })
		d, status := w.dial("u1", "", nil)
		if d == nil {
			t.Fatalf("status %d", status)
		}
		<-d.follow()
		<-w.drained
	})
}

func TestDrainingReachesASocketThatIsJustOpening(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		hold := make(chan struct{})
		w.with(func() { w.hold = hold })
		go func() {
			synctest.Wait()
			w.stop()
			synctest.Wait()
			close(hold)
		}()
		d, status := w.dial("u1", "", nil)
		if d == nil {
			t.Fatalf("status %d", status)
		}
		if code := <-d.follow(); code != websocket.StatusGoingAway {
			t.Errorf("closed with %d", code)
		}
	})
}
