package deadletter_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"cartstream/api/cart"
	"cartstream/consumers/deadletter"
	"cartstream/consumers/runner"
	"cartstream/schemas"
)

func TestACallThatIsWrongIsRefused(t *testing.T) {
	b := setup(t)
	foreign(b, "u1")
	id := b.one("").ID
	encode := base64.RawURLEncoding.EncodeToString
	list, replay, discard := "GET /admin/dead-letters?", "POST /admin/dead-letters/replay", "POST /admin/dead-letters/"+id+"/discard"
	for claim, c := range map[string]struct {
		call, body string
		status     int
		field      string
	}{
		"a limit of 0":                     {list + "limit=0", "", 400, "limit"},
		"a limit of 101":                   {list + "limit=101", "", 400, "limit"},
		"a limit that is no number":        {list + "limit=ten", "", 400, "limit"},
		"a limit written oddly":            {list + "limit=%2B5", "", 400, "limit"},
		"two limits":                       {list + "limit=1&limit=2", "", 400, "limit"},
		"an unknown status":                {list + "status=open", "", 400, "status"},
		"an empty status":                  {list + "status=", "", 400, "status"},
		"an unknown class":                 {list + "class=bad", "", 400, "class"},
		"no user id":                       {list + "userId=u%201", "", 400, "userId"},
		"an empty group":                   {list + "group=", "", 400, "group"},
		"a cursor that is no base64":       {list + "cursor=%25", "", 400, "cursor"},
		"a cursor of something else":       {list + "cursor=" + encode([]byte(`{"t":1}`)), "", 400, "cursor"},
		"an empty cursor":                  {list + "cursor=", "", 400, "cursor"},
		"a query that can't be read":       {list + "limit=%zz", "", 400, "query"},
		"no such letter":                   {"GET /admin/dead-letters/none", "", 404, ""},
		"the index's own mark":             {"GET /admin/dead-letters/-", "", 404, ""},
		"no such letter's history":         {"GET /admin/dead-letters/none/history", "", 404, ""},
		"a replay of no such letter":       {"POST /admin/dead-letters/none/replay", "", 404, ""},
		"a discard of no such letter":      {"POST /admin/dead-letters/none/discard", `{"reason":"x"}`, 404, ""},
		"a discard without a body":         {discard, "", 400, "body"},
		"a discard without a reason":       {discard, `{}`, 400, "reason"},
		"a discard for blanks":             {discard, `{"reason":" \n "}`, 400, "reason"},
		"a reason that is too long":        {discard, fmt.Sprintf(`{"reason":%q}`, strings.Repeat("é", 1001)), 400, "reason"},
		"a reason that is a number":        {discard, `{"reason":7}`, 400, "reason"},
		"a replay by filter without body":  {replay, "", 400, "body"},
		"a filter's unknown class":         {replay, `{"filter":{"class":"bad"}}`, 400, "filter.class"},
		"a filter's bad user":              {replay, `{"filter":{"userId":""}}`, 400, "filter.userId"},
		"a filter's empty group":           {replay, `{"filter":{"group":""}}`, 400, "filter.group"},
		"a filter by what can't be chosen": {replay, `{"filter":{"status":"discarded"}}`, 400, "filter.status"},
		"a rate of 0":                      {replay, `{"filter":{},"ratePerSecond":0}`, 400, "ratePerSecond"},
		"a rate of 1001":                   {replay, `{"filter":{},"ratePerSecond":1001}`, 400, "ratePerSecond"},
		"a dry run that is a text":         {replay, `{"filter":{},"dryRun":"yes"}`, 400, "dryRun"},
		"a method that isn't there":        {"DELETE /admin/dead-letters/" + id, "", 405, ""},
	} {
		t.Run(claim, func(t *testing.T) {
			method, path, _ := strings.Cut(c.call, " ")
			var p struct {
				Status int
				Errors []struct{ Field string }
			}
			if status := b.call(method, path, c.body, &p); status != c.status || p.Status != c.status {
				t.Fatalf("status %d, problem %+v", status, p)
			}
			if c.field != "" && (len(p.Errors) != 1 || p.Errors[0].Field != c.field) {
				t.Errorf("faults %+v", p.Errors)
			}
		})
	}
	if l := b.one(""); l.Status != deadletter.Parked || len(b.history(l.ID)) > 0 {
		t.Errorf("something was done: %+v", l)
	}
}

func TestOnlyAdminsAreTold(t *testing.T) {
	b := setup(t)
	for caller, status := range map[string]int{"": 401, "Bearer u1": 403} {
		for _, route := range b.lot.Routes() {
			method, path, _ := strings.Cut(route.Pattern, " ")
			r := httptest.NewRequestWithContext(t.Context(), method, strings.ReplaceAll(path, "{id}", "x"), http.NoBody)
			if caller != "" {
				r.Header.Set("Authorization", caller)
			}
			w := httptest.NewRecorder()
			b.ops.ServeHTTP(w, r)
			if w.Code != status {
				t.Errorf("%s by %q: %d", route.Pattern, caller, w.Code)
			}
		}
	}
}

func TestTheListGoesOnWhereAPageEnds(t *testing.T) {
	b := setup(t)
	letters := b.db.Collection(deadletter.Collection)
	b.whole()
	var want []string
	for i := range 25 { // five at each of five times
		id := fmt.Sprintf("%02d", i)
		want = append(want, id)
		_, err := letters.InsertOne(t.Context(), bson.D{
			{Key: "_id", Value: id}, {Key: "group", Value: "reports"}, {Key: "topic", Value: "theirs"}, {Key: "status", Value: "parked"}, {Key: "class", Value: "rejected"},
			{Key: "firstFailedAt", Value: schemas.Milliseconds(1)}, {Key: "lastFailedAt", Value: schemas.Milliseconds(int64(1000 + i/5))},
		})
		must(t, err)
	}
	slices.Reverse(want) // newest first, then by id
	for _, limit := range []string{"", "&limit=1", "&limit=5", "&limit=7", "&limit=25", "&limit=100"} {
		var got []string
		size := 0
		for cursor, more := "", true; more; more = cursor != "" {
			var page deadletter.Page
			path := "/admin/dead-letters?group=reports" + limit
			if cursor != "" {
				path += "&cursor=" + cursor
			}
			if status := b.call("GET", path, "", &page); status != 200 {
				t.Fatalf("%s: %d", path, status)
			}
			size = max(size, len(page.Items))
			for _, l := range page.Items {
				got = append(got, l.ID)
			}
			cursor = page.NextCursor
		}
		if !slices.Equal(got, want) || limit == "" && size != 20 {
			t.Errorf("with %q, in pages of %d: %q", limit, size, got)
		}
	}
	if found := b.list("group=reports&status=discarded"); len(found) != 0 {
		t.Errorf("found %+v", found)
	}
}

func TestAReplayByFilterReplaysWhatWouldApply(t *testing.T) {
	push, other := &picky{rule: rejectAll}, &picky{rule: rejectAll}
	b := setup(t, push.consumer("push"), other.consumer("reminder"))
	for _, user := range []string{"u1", "u2", "u3"} {
		b.redis.set(change(user, 1))
		b.produce(event(change(user, 1)))
	}
	garbage := event(change("u4", 1))
	garbage.Value, garbage.Headers = []byte("{"), nil
	b.produce(garbage)
	await(t, "all are parked", func() bool { return len(b.list("status=parked")) == 8 })
	all := func(body string) (sum deadletter.Summary) {
		if status := b.call("POST", "/admin/dead-letters/replay", body, &sum); status != 200 {
			t.Fatalf("%s: %d", body, status)
		}
		return sum
	}
	check := func(claim string, got deadletter.Summary, want string) {
		t.Helper()
		if text := fmt.Sprintf("%d matched, %d replayed, %v", got.Matched, got.Replayed, got.Verdicts); text != want {
			t.Errorf("%s: %s", claim, text)
		}
	}
	check("a dry run", all(`{"filter":{"group":"push"},"dryRun":true,"ratePerSecond":1000}`), "4 matched, 0 replayed, map[undecodable:1 would-apply:3]")
	check("by user and class", all(`{"filter":{"group":"push","userId":"u1","class":"rejected"},"dryRun":true}`), "1 matched, 0 replayed, map[would-apply:1]")
	check("by another class", all(`{"filter":{"group":"push","userId":"u1","class":"exhausted"}}`), "0 matched, 0 replayed, map[]")
	if got := push.versions(); len(got) > 0 {
		t.Errorf("a dry run replayed %v", got)
	}
	push.become(func(c schemas.CartChanged) error {
		if c.UserID == "u2" {
			return runner.Permanent(errNoGood)
		}
		return nil
	})
	check("in earnest", all(`{"filter":{"group":"push"},"ratePerSecond":1000}`), "4 matched, 2 replayed, map[undecodable:1 would-apply:3]")
	check("again", all(`{"filter":{"group":"push"},"dryRun":true}`), "2 matched, 0 replayed, map[undecodable:1 would-apply:1]")
	if l := b.one("group=push&userId=u2"); l.Attempts != 2 {
		t.Errorf("what failed again is %+v", l)
	}
	if l := b.one("group=push&userId=u4"); l.Attempts != 1 {
		t.Errorf("what can't be decoded was tried: %+v", l)
	}
	if got := other.versions(); len(got) > 0 || len(b.list("group=reminder&status=parked")) != 4 {
		t.Errorf("the other group got %v", got)
	}
}

func TestWhileAnEngineIsAwayNothingIsLostOfALetter(t *testing.T) {
	push := &picky{rule: rejectAll}
	b := setup(t, push.consumer("push"))
	b.redis.set(change("u1", 1))
	b.produce(event(change("u1", 1)))
	l := b.one("group=push")
	b.redis.fail(&cart.Unavailable{Err: errors.New("connection refused")})
	if found := b.one("group=push"); found.Verdict != nil {
		t.Errorf("letter %+v", found)
	}
	push.become(func(schemas.CartChanged) error { return errors.New("connection refused by 10.0.0.7") })
	for _, call := range []string{"/" + l.ID + "/replay", "/replay"} {
		body := ""
		if call == "/replay" {
			body = `{"filter":{}}`
		}
		var p struct{ Type, Detail string }
		if status := b.call("POST", "/admin/dead-letters"+call, body, &p); status != 503 || p.Type != "/problems/unavailable" || strings.Contains(p.Detail, "10.0.0.7") {
			t.Errorf("%s: %d %+v", call, status, p)
		}
	}
	if after := b.one("group=push"); after.Status != deadletter.Parked || after.Attempts != 1 || after.LastFailedAt != l.LastFailedAt {
		t.Errorf("letter %+v, was %+v", after, l)
	}
	if got := b.history(l.ID); len(got) != 2 || !strings.HasPrefix(got[0], "boss replay undone: ") {
		t.Errorf("history %q", got)
	}
	push.become(nil)
	if done := b.replay(l.ID); done.Status != deadletter.Replayed {
		t.Errorf("letter %+v", done)
	}
}
