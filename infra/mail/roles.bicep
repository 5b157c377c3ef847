// Role assignments on the mail's container and tables, each with its reason. app/roles.bicep has those on the app's resources.

import { principalType as principal } from '../types.bicep'

@description('Object id of the app\'s identity.')
param appPrincipalId string

@description('Object id of an operator, or of a group of operators. Empty: no operator.')
param operatorPrincipalId string

param operatorPrincipalType principal

@description('The mail\'s storage account.')
param mailStorageName string
param mailContainer string
param mailTables string[]

var blobContributor = subscriptionResourceId(
  'Microsoft.Authorization/roleDefinitions',
  'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
)
var tableContributor = subscriptionResourceId(
  'Microsoft.Authorization/roleDefinitions',
  '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'
)

var operator = !empty(operatorPrincipalId)
var operatorTablesHere = operator ? mailTables : []

resource mailStorage 'Microsoft.Storage/storageAccounts@2026-06-01' existing = {
  name: mailStorageName
}

resource mailBlobs 'Microsoft.Storage/storageAccounts/blobServices@2026-06-01' existing = {
  parent: mailStorage
  name: 'default'
}

resource mail 'Microsoft.Storage/storageAccounts/blobServices/containers@2026-06-01' existing = {
  parent: mailBlobs
  name: mailContainer
}

resource mailTableService 'Microsoft.Storage/storageAccounts/tableServices@2026-06-01' existing = {
  parent: mailStorage
  name: 'default'
}

resource tables 'Microsoft.Storage/storageAccounts/tableServices/tables@2026-06-01' existing = [
  for table in mailTables: {
    parent: mailTableService
    name: table
  }
]

// For messages, results and records: written, read for routing, and deleted when they are erased. Only this container.
resource appMail 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(mail.id, appPrincipalId, blobContributor)
  scope: mail
  properties: {
    roleDefinitionId: blobContributor
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

// For receipts, claims and similar records, table by table, since the account may have other tables.
resource appTables 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for (table, number) in mailTables: {
    name: guid(mailStorage.id, table, appPrincipalId, tableContributor)
    scope: tables[number]
    properties: {
      roleDefinitionId: tableContributor
      principalId: appPrincipalId
      principalType: 'ServicePrincipal'
    }
  }
]

// For mailroom find, which reads messages, mailroom forget, which deletes them, and for writing config/routes.json.
resource operatorMail 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (operator) {
  name: guid(mail.id, operatorPrincipalId, blobContributor)
  scope: mail
  properties: {
    roleDefinitionId: blobContributor
    principalId: operatorPrincipalId
    principalType: operatorPrincipalType
  }
}

// For mailroom status, find, enable and forget, which read and change records of mailboxes and messages.
resource operatorTables 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for (table, number) in operatorTablesHere: {
    name: guid(mailStorage.id, table, operatorPrincipalId, tableContributor)
    scope: tables[number]
    properties: {
      roleDefinitionId: tableContributor
      principalId: operatorPrincipalId
      principalType: operatorPrincipalType
    }
  }
]
