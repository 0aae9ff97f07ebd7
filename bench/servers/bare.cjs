'use strict'

// The floor: Express and its JSON parser, no protection at all.

const express = require('express')
const { serve } = require('./harness.cjs')

const app = express()
app.use(express.json())
serve(app)
