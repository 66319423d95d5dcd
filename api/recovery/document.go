package recovery

import (
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"cartstream/schemas"
)

// decodeCart reads a stored cart as bson.Unmarshal does: by hand, which takes a fraction of the time, where all of it has the
// types that are written.
func decodeCart(document bson.Raw) (schemas.Cart, error) {
	if c, ok := decodeWritten(document); ok {
		return c, nil
	}
	var c schemas.Cart
	err := bson.Unmarshal(document, &c)
	return c, err
}

func decodeWritten(document bson.Raw) (c schemas.Cart, ok bool) {
	ok = each(bsoncore.Document(document), func(name []byte, v bsoncore.Value) (ok bool) {
		switch string(name) {
		case "_id":
			c.UserID, ok = v.StringValueOK()
		case "epoch":
			c.Epoch, ok = v.Int64OK()
		case "version":
			c.Version, ok = v.Int64OK()
		case "currency":
			c.Currency, ok = v.StringValueOK()
		case "items":
			c.Items, ok = decodeLines(v)
		case "totalAmount":
			c.TotalAmount, ok = v.Int64OK()
		case "totalQuantity":
			c.TotalQuantity, ok = v.Int64OK()
		case "lineCount":
			c.LineCount, ok = v.Int64OK()
		case "updatedAt":
			var ms int64
			ms, ok = v.DateTimeOK()
			at := schemas.Milliseconds(ms)
			c.UpdatedAt = &at
		default:
			ok = true
		}
		return ok
	})
	return c, ok
}

func decodeLines(v bsoncore.Value) (lines []schemas.Line, ok bool) {
	array, ok := v.ArrayOK()
	if !ok {
		return nil, false
	}
	lines = []schemas.Line{}
	ok = each(bsoncore.Document(array), func(_ []byte, v bsoncore.Value) bool {
		document, ok := v.DocumentOK()
		if !ok {
			return false
		}
		lines = append(lines, schemas.Line{})
		return decodeLine(document, &lines[len(lines)-1])
	})
	return lines, ok
}

func decodeLine(document bsoncore.Document, l *schemas.Line) bool {
	return each(document, func(name []byte, v bsoncore.Value) (ok bool) {
		switch string(name) {
		case "bookId":
			l.BookID, ok = v.StringValueOK()
		case "title":
			l.Title, ok = v.StringValueOK()
		case "unitPrice":
			l.UnitPrice, ok = v.Int64OK()
		case "previousUnitPrice":
			var price int64
			price, ok = v.Int64OK()
			l.PreviousUnitPrice = &price
		case "quantity":
			l.Quantity, ok = v.Int64OK()
		case "lineTotal":
			l.LineTotal, ok = v.Int64OK()
		case "availability":
			var text string
			text, ok = v.StringValueOK()
			l.Availability = schemas.Availability(text)
		default:
			ok = true
		}
		return ok
	})
}

// each visits the fields until one is not as it should be; it reports whether all were.
func each(document bsoncore.Document, visit func(name []byte, v bsoncore.Value) bool) bool {
	_, rest, ok := bsoncore.ReadLength(document)
	for ok && len(rest) > 1 {
		var e bsoncore.Element
		if e, rest, ok = bsoncore.ReadElement(rest); !ok {
			return false
		}
		v, err := e.ValueErr()
		ok = err == nil && visit(e.KeyBytes(), v)
	}
	return ok
}
