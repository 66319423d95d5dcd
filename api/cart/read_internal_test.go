package cart

import "testing"

func TestAReplyThatIsNoHashIsNotReadAsOne(t *testing.T) {
	const head = "$1\r\n*\r\n$26\r\n5 1 1299 1 1 2 1000 - - xx\r\n"
	for claim, c := range map[string]struct {
		reply  string
		fields int
	}{
		"a map":                        {"%1\r\n" + head, 1},
		"an array of pairs":            {"*2\r\n" + head, 1},
		"no cart":                      {"%0\r\n", 0},
		"an error":                     {"-WRONGTYPE not a hash\r\n", -1},
		"a redirection":                {"-ASK 3999 127.0.0.1:6381\r\n", -1},
		"nothing":                      {"", -1},
		"a value that is cut off":      {"%1\r\n$1\r\n*\r\n$26\r\n5 1\r\n", -1},
		"a field without its value":    {"%1\r\n$1\r\n*\r\n", -1},
		"a value that is no text":      {"%1\r\n$1\r\n*\r\n:7\r\n", -1},
		"a length that is no number":   {"%1\r\n$x\r\n*\r\n" + head, -1},
		"a count that is no number":    {"%x\r\n" + head, -1},
		"a length beyond what is left": {"%1\r\n$1\r\n*\r\n$99\r\nx\r\n", -1},
	} {
		t.Run(claim, func(t *testing.T) {
			cart, fields, err := readHash("u1", "EUR", []byte(c.reply))
			if err != nil || fields != c.fields {
				t.Fatalf("%d fields, %v, want %d", fields, err, c.fields)
			}
			if fields > 0 && (cart.Version != 1 || cart.TotalAmount != 1299 || cart.UpdatedAt == nil) {
				t.Errorf("read as %+v", cart)
			}
		})
	}
}

func TestLinesComeInTheirOrderWhateverTheHashsOrder(t *testing.T) {
	r := newCartReader("u1", "EUR", 3)
	for _, line := range [][2]string{{"b3", "12 1 5 a 1 - Three"}, {"b1", "1 2 7 o 1 9 One"}, {"b2", "3 1 5 a 1 - Two"}} {
		r.take(line[0], line[1])
	}
	c, err := r.done()
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"b1", "b2", "b3"} {
		if c.Items[i].BookID != want {
			t.Errorf("line %d is %+v, want %s", i, c.Items[i], want)
		}
	}
}
