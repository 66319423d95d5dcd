package dlq_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"cartstream/consumers/deadletter/dlq"
)

// ops is an ops API that answers what it is told to, and keeps what it was asked.
type ops struct {
	*httptest.Server
	answers map[string]string // by method and path
	asked   []string
	bodies  []string
	token   string
}

func serve(t *testing.T, answers map[string]string) *ops {
	t.Helper()
	o := &ops{answers: answers}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		o.asked = append(o.asked, r.Method+" "+r.URL.RequestURI())
		o.bodies = append(o.bodies, string(body))
		o.token = strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		answer, ok := o.answers[r.Method+" "+r.URL.RequestURI()]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			answer = `{"title":"Not found","status":404,"detail":"What the path names isn't there."}`
		}
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(o.Close)
	t.Setenv("OPS_URL", o.URL+"/")
	t.Setenv("JWT_SECRET", "of-the-tests")
	return o
}

func run(t *testing.T, args ...string) (code int, out, complaints string) {
	t.Helper()
	var o, c bytes.Buffer
	code = dlq.Run(t.Context(), args, &o, &c)
	return code, o.String(), c.String()
}

func letter(id, status, more string) string {
	return fmt.Sprintf(`{"id":%q,"group":"persist","topic":"cart.events.v1","partition":3,"offset":42,"key":"u1","userId":"u1","class":"rejected",`+
		`"error":"no good","attempts":4,"firstFailedAt":"2026-11-22T10:00:00.000Z","lastFailedAt":"2026-11-22T10:00:01.000Z","status":%q%s}`, id, status, more)
}

const listed = "GET /admin/dead-letters?limit=50&status=parked"

func TestListIsATable(t *testing.T) {
	second := "GET /admin/dead-letters?cursor=x&limit=48&status=parked"
	o := serve(t, map[string]string{
		listed: `{"items":[` + letter("a1", "parked", `,"verdict":"would-apply"`) + `,` + letter("b2", "parked", `,"verdict":null`) + `],"nextCursor":"x"}`,
		second: `{"items":[` + letter("c3", "parked", "") + `]}`,
	})
	code, out, complaints := run(t, "list")
	if code != 0 || complaints != "" || !slices.Equal(o.asked, []string{listed, second}) {
		t.Fatalf("%d %s, asked %q", code, complaints, o.asked)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 4 || !slices.Equal(strings.Fields(lines[1]), []string{"a1", "parked", "would-apply", "persist", "rejected", "u1", "4", "2026-11-22T10:00:01.000Z", "no", "good"}) ||
		!strings.HasPrefix(lines[2], "b2  parked  - ") || !strings.HasPrefix(lines[3], "c3") {
		t.Errorf("shown:\n%s", out)
	}
}

func TestTheFlagsAreTheCallsParameters(t *testing.T) {
	o := serve(t, map[string]string{
		"GET /admin/dead-letters?class=rejected&group=persist&limit=100&userId=u1": `{"items":[]}`,
		"POST /admin/dead-letters/replay":                                          `{"matched":7,"replayed":4,"verdicts":{"would-apply":5,"superseded":2}}`,
	})
	if code, out, complaints := run(t, "list", "--group", "persist", "--class=rejected", "--user", "u1", "--status", "all", "--limit", "0"); code != 0 || out != "no such letters\n" {
		t.Errorf("list: %d %s %s", code, out, complaints)
	}
	code, out, complaints := run(t, "replay", "--group", "persist", "--user", "u1", "--rate", "7", "--dry-run")
	if code != 0 || !strings.Contains(out, "would-apply") || !strings.Contains(out, "dry run") {
		t.Errorf("replay: %d %s %s", code, out, complaints)
	}
	if want := `{"dryRun":true,"filter":{"group":"persist","userId":"u1"},"ratePerSecond":7}`; o.bodies[1] != want {
		t.Errorf("asked for %s", o.bodies[1])
	}
	if code, out, _ := run(t, "replay", "--all", "--json"); code != 0 || !json.Valid([]byte(out)) || !strings.Contains(out, `"replayed": 4`) {
		t.Errorf("replay: %d %s", code, out)
	}
	if want := `{"dryRun":false,"filter":{},"ratePerSecond":20}`; o.bodies[2] != want {
		t.Errorf("asked for %s", o.bodies[2])
	}
}

func TestALetterIsShownWholeAndHarmless(t *testing.T) {
	value := base64.StdEncoding.EncodeToString([]byte("{\"a\":\"\x7f\",\"b\":[1]}"))
	o := serve(t, map[string]string{
		"GET /admin/dead-letters/a1":         letter("a1", "parked", `,"verdict":"undecodable","headers":{"ce_id":"\u001b[31mred","x":"y"},"value":"`+value+`"`),
		"GET /admin/dead-letters/a1/history": `{"items":[{"at":"2026-11-22T11:00:00.000Z","by":"boss","action":"replay","outcome":"failed: no good"}]}`,
	})
	code, out, complaints := run(t, "show", "a1")
	if code != 0 {
		t.Fatalf("%d %s", code, complaints)
	}
	for _, want := range []string{"cart.events.v1, partition 3, offset 42", "undecodable", "\uFFFD[31mred", "replay by boss: failed: no good", "\"b\": ["} {
		if !strings.Contains(out, want) {
			t.Errorf("nothing about %q in:\n%s", want, out)
		}
	}
	if strings.ContainsAny(out, "\x1b\x7f") {
		t.Errorf("what others wrote can steer the terminal: %q", out)
	}
	if _, out, _ := run(t, "show", "--value", "a1"); out != "{\"a\":\"\x7f\",\"b\":[1]}" {
		t.Errorf("the value is %q", out)
	}
	if _, out, _ := run(t, "show", "a1", "--json"); !json.Valid([]byte(out)) || !strings.Contains(out, `"history"`) || !strings.Contains(out, value) {
		t.Errorf("as JSON: %s", out)
	}
	o.answers["GET /admin/dead-letters/a1"] = letter("a1", "parked", `,"headers":{},"value":null`)
	if _, out, _ := run(t, "show", "a1"); !strings.Contains(out, "the value is null") {
		t.Errorf("shown:\n%s", out)
	}
	if code, _, complaints := run(t, "show", "a1", "--value"); code != 1 || !strings.Contains(complaints, "null") {
		t.Errorf("%d %s", code, complaints)
	}
}

func TestWhatDoesNotEndAsItShouldIsTold(t *testing.T) {
	o := serve(t, map[string]string{
		"POST /admin/dead-letters/a1/replay":  letter("a1", "replayed", ""),
		"POST /admin/dead-letters/b2/replay":  letter("b2", "parked", ""),
		"POST /admin/dead-letters/d4/replay":  letter("d4", "superseded", ""),
		"POST /admin/dead-letters/a1/discard": letter("a1", "discarded", ""),
	})
	if code, out, _ := run(t, "replay", "a1"); code != 0 || !strings.Contains(out, "replayed") {
		t.Errorf("replay: %d %s", code, out)
	}
	if code, out, complaints := run(t, "replay", "d4"); code != 0 || !strings.Contains(out, "superseded") {
		t.Errorf("replay of what time has overtaken: %d %s %s", code, out, complaints)
	}
	code, out, complaints := run(t, "replay", "a1", "b2", "c3")
	if code != 1 || !strings.Contains(out, "a1") || !strings.Contains(complaints, "b2 is parked, after 4 attempts: no good") || !strings.Contains(complaints, "c3: Not found (404)") {
		t.Errorf("replay: %d %s %s", code, out, complaints)
	}
	if code, _, _ := run(t, "discard", "a1", "--reason", "by hand"); code != 0 || o.bodies[len(o.bodies)-1] != `{"reason":"by hand"}` {
		t.Errorf("discard: %d, asked for %q", code, o.bodies)
	}
	o.Close()
	if code, _, complaints := run(t, "list"); code != 1 || !strings.Contains(complaints, "don't answer") {
		t.Errorf("without a service: %d %s", code, complaints)
	}
}

func TestARefusalIsToldWithItsFaults(t *testing.T) {
	status := http.StatusBadRequest
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"title":"Invalid request","status":400,"detail":"errors names each","errors":[{"field":"class","message":"must be one"}]}`)
	}))
	t.Cleanup(server.Close)
	t.Setenv("OPS_URL", server.URL)
	t.Setenv("OPS_TOKEN", "x")
	if code, _, complaints := run(t, "list", "--class", "x"); code != 1 || !strings.Contains(complaints, "class must be one") || strings.Contains(complaints, "JWT_SECRET") {
		t.Errorf("%d %s", code, complaints)
	}
	status = http.StatusForbidden
	if code, _, complaints := run(t, "list"); code != 1 || !strings.Contains(complaints, "JWT_SECRET") {
		t.Errorf("%d %s", code, complaints)
	}
}

func TestTheTokenIsTheShellsOrMadeForAFewMinutes(t *testing.T) {
	o := serve(t, map[string]string{listed: `{"items":[]}`})
	t.Setenv("JWT_ISSUER", "https://issuer.example")
	t.Setenv("JWT_AUDIENCE", "cartstream")
	if code, _, complaints := run(t, "list"); code != 0 {
		t.Fatal(complaints)
	}
	parsed, err := jwt.Parse(o.token, func(*jwt.Token) (any, error) { return []byte("of-the-tests"), nil },
		jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuer("https://issuer.example"), jwt.WithAudience("cartstream"), jwt.WithExpirationRequired())
	if err != nil {
		t.Fatal(err)
	}
	claims, _ := parsed.Claims.(jwt.MapClaims)
	if sub, _ := claims.GetSubject(); claims["role"] != "admin" || !strings.HasPrefix(sub, "dlq:") {
		t.Errorf("claims %v", claims)
	}
	t.Setenv("OPS_TOKEN", "from.the.issuer")
	if code, _, complaints := run(t, "list"); code != 0 || o.token != "from.the.issuer" {
		t.Errorf("%d %s, token %q", code, complaints, o.token)
	}
}

func TestAWrongCallIsExitCode2(t *testing.T) {
	for claim, c := range map[string]struct {
		env  map[string]string
		args []string
		says string
	}{
		"an unknown command":              {nil, []string{"lst"}, `"lst"`},
		"an unknown flag":                 {nil, []string{"list", "--grop", "x"}, "grop"},
		"a limit below 0":                 {nil, []string{"list", "--limit", "-1"}, "limit"},
		"an id to list":                   {nil, []string{"list", "a1"}, "flags alone"},
		"nothing to show":                 {nil, []string{"show"}, "one id"},
		"two to show":                     {nil, []string{"show", "a", "b"}, "one id"},
		"nothing to replay":               {nil, []string{"replay"}, "--all"},
		"a rate alone":                    {nil, []string{"replay", "--rate", "5"}, "--all"},
		"ids and a filter":                {nil, []string{"replay", "a1", "--group", "x"}, "not both"},
		"all and a filter":                {nil, []string{"replay", "--all", "--group", "x"}, "--all"},
		"nothing to discard":              {nil, []string{"discard", "--reason", "x"}, "--reason"},
		"no reason":                       {nil, []string{"discard", "a1"}, "--reason"},
		"neither a token nor a secret":    {map[string]string{"JWT_SECRET": ""}, []string{"list"}, "OPS_TOKEN"},
		"a URL that is none":              {map[string]string{"OPS_URL": "10.0.0.7:8090"}, []string{"list"}, "OPS_URL"},
		"an address that is none":         {map[string]string{"OPS_URL": "", "OPS_ADDR": "8090"}, []string{"list"}, "OPS_ADDR"},
		"the same, whatever is asked for": {map[string]string{"OPS_URL": "", "OPS_ADDR": "8090"}, []string{"show", "a1"}, "OPS_ADDR"},
	} {
		t.Run(claim, func(t *testing.T) {
			o := serve(t, nil)
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			code, _, complaints := run(t, c.args...)
			if code != 2 || !strings.Contains(complaints, c.says) || len(o.asked) > 0 {
				t.Errorf("%d %s, asked %q", code, complaints, o.asked)
			}
		})
	}
}

func TestHelpTellsCommandsFlagsAndEnvironment(t *testing.T) {
	for _, args := range [][]string{nil, {"--help"}, {"help"}} {
		code, out, _ := run(t, args...)
		for _, want := range []string{"list", "show", "replay", "discard", "--dry-run", "OPS_URL", "OPS_TOKEN", "would-apply"} {
			if code != 0 || !strings.Contains(out, want) {
				t.Errorf("%q: %d, nothing about %s in:\n%s", args, code, want, out)
			}
		}
	}
	if code, out, _ := run(t, "replay", "--help"); code != 0 || !strings.Contains(out, "dry-run") {
		t.Errorf("%d %s", code, out)
	}
}

func TestTheAddressIsSeenFromThisMachine(t *testing.T) {
	o := serve(t, map[string]string{listed: `{"items":[]}`})
	_, port, _ := strings.Cut(strings.TrimPrefix(o.URL, "http://"), ":")
	t.Setenv("OPS_URL", "")
	for _, addr := range []string{":" + port, "0.0.0.0:" + port, "[::]:" + port, "127.0.0.1:" + port} {
		t.Setenv("OPS_ADDR", addr)
		if code, _, complaints := run(t, "list"); code != 0 {
			t.Errorf("%s: %d %s", addr, code, complaints)
		}
	}
}
