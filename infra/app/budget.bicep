// A budget of the resource group. It warns and stops nothing.

@description('Name of the budget.')
param name string

@description('Amount a month in the currency of the subscription.')
@minValue(1)
param amount int

@description('First day of the month in which the budget starts, as in 2026-12-01. Azure refuses a past month for a new budget, and any change.')
param startDate string

@description('E-mail addresses that are warned at 80 and 100 per cent, and when 100 per cent are forecast.')
@minLength(1)
param emails string[]

resource budget 'Microsoft.Consumption/budgets@2026-06-01' = {
  name: name
  properties: {
    category: 'Cost'
    amount: amount
    timeGrain: 'Monthly'
    timePeriod: {
      startDate: startDate
    }
    notifications: {
      actual80: {
        enabled: true
        operator: 'GreaterThan'
        threshold: 80
        thresholdType: 'Actual'
        contactEmails: emails
      }
      actual100: {
        enabled: true
        operator: 'GreaterThan'
        threshold: 100
        thresholdType: 'Actual'
        contactEmails: emails
      }
      forecast100: {
        enabled: true
        operator: 'GreaterThan'
        threshold: 100
        thresholdType: 'Forecasted'
        contactEmails: emails
      }
    }
  }
}
